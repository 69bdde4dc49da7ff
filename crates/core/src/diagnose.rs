//! How a library error tells the binary its exit code and a hint; the trait is [`Diagnose`].

/// What went wrong, in the classes that scripts can tell apart by exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The command line cannot be understood (2).
    Usage,
    /// A row, a model file or another input is not what it should be (65).
    Data,
    /// A service, a model or a tool cannot be reached (69).
    Unavailable,
    /// The file system refused (74).
    Io,
    /// Run the same command again to go on (75).
    Temporary,
    /// The configuration is wrong or contradicts an earlier run (78).
    Configuration,
    /// Stopped by the user (130).
    Interrupted,
}

impl FailureKind {
    /// The process exit code, after `sysexits.h`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Io => 74,
            Self::Temporary => 75,
            Self::Configuration => 78,
            Self::Interrupted => 130,
        }
    }
}

/// An error that knows its class and, where there is one, the next thing to try.
pub trait Diagnose: std::error::Error {
    /// The class, and so the exit code.
    fn kind(&self) -> FailureKind;

    /// What the user can do, one sentence without a final period.
    fn hint(&self) -> Option<String> {
        None
    }
}
