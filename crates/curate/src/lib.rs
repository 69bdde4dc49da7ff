//! Filters, splits and statistics that turn instructions into a dataset.
