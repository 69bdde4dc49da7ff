//! Row formats, quarantine, task files, readers of the owners' file formats and splits.
