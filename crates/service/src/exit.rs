//! Exit codes, and the error that carries one from where it happened to `main`.
//!
//! The numbers are those of `sysexits.h`, which systemd prints by name.

use std::fmt;

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// 0: stopped on request, or did what it was asked to.
    Ok = 0,
    /// 64: the command line is wrong.
    Usage = 64,
    /// 69: something it needs is not there: an address in use, a database that does not answer.
    Unavailable = 69,
    /// 70: a part of the process failed, or the drain ran past its deadline.
    Internal = 70,
    /// 73: a file or directory it must write cannot be made or written, or the disk is full.
    CannotCreate = 73,
    /// 78: the configuration is wrong, a secret is missing, or the data is of a newer version.
    Config = 78,
    /// 130: a second signal ended it before the drain was over.
    Aborted = 130,
}

impl Code {
    /// Every code with its meaning, for manuals.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Ok, "stopped on request, or did what it was asked to"),
        (Self::Usage, "the command line is wrong"),
        (Self::Unavailable, "an address is in use, or a database or service it needs does not answer"),
        (Self::Internal, "a part of the process failed, or the drain ran past its deadline"),
        (Self::CannotCreate, "a file or directory cannot be made or written, or the disk is full"),
        (Self::Config, "the configuration is wrong, a secret is missing, or the data is of a newer version"),
        (Self::Aborted, "a second signal ended it before the drain was over"),
    ];

    /// The number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// An error that says which [`Code`] the process ends with.
///
/// It stands for the error inside it: the chain prints as if it were not there.
pub struct StartError {
    code: Code,
    error: anyhow::Error,
}

impl StartError {
    /// `error`, ending the process with `code`.
    pub fn new(code: Code, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }

    /// A new error from a text, ending the process with `code`.
    pub fn message(code: Code, text: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self { code, error: anyhow::Error::msg(text) }
    }

    /// The code the process ends with.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.chain().nth(1)
    }
}

/// Says which exit code an error means.
pub trait OrExit<T> {
    /// Marks the error, if there is one, with `code`.
    fn or_exit(self, code: Code) -> Result<T, StartError>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, code: Code) -> Result<T, StartError> {
        self.map_err(|error| StartError::new(code, error))
    }
}

/// The code that `error` means: the outermost [`StartError`] of its chain, else what is known of
/// this crate's own errors, else [`Code::Internal`].
pub fn code_of(error: &anyhow::Error) -> Code {
    error
        .chain()
        .find_map(|cause| {
            if let Some(start) = cause.downcast_ref::<StartError>() {
                return Some(start.code);
            }
            let config = cause.is::<crate::config::Error>()
                || cause.is::<crate::config::Invalid>()
                || cause.is::<crate::secret::Error>();
            config.then_some(Code::Config)
        })
        .unwrap_or(Code::Internal)
}

/// The chain of `error` in one line, each cause once.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', ", ");
        // Some libraries repeat their source's text in their own.
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn io() -> std::io::Error {
        std::io::Error::other("disk on fire")
    }

    #[test]
    fn the_code_survives_context_around_it() {
        let error: anyhow::Result<()> =
            Err(io()).or_exit(Code::CannotCreate).context("cannot prepare the data directory");
        let error = error.unwrap_err();
        assert_eq!(code_of(&error), Code::CannotCreate);
        assert_eq!(one_line(&error), "cannot prepare the data directory: disk on fire");
    }

    #[test]
    fn an_unmarked_error_is_internal() {
        assert_eq!(code_of(&anyhow::Error::new(io())), Code::Internal);
    }

    #[test]
    fn a_configuration_error_is_78_without_being_marked() {
        let error = anyhow::Error::new(crate::config::Invalid::new("a.b", "no"));
        assert_eq!(code_of(&error).number(), 78);
    }

    #[test]
    fn context_inside_the_mark_is_printed_once_and_in_order() {
        let inner = anyhow::Error::new(io()).context("cannot open x.db");
        let error = anyhow::Error::new(StartError::new(Code::Unavailable, inner)).context("cannot start");
        assert_eq!(one_line(&error), "cannot start: cannot open x.db: disk on fire");
    }
}
