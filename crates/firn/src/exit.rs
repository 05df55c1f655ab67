//! How Firn ends, and what a person reads when it does: one line of cause, one of remedy.

use std::fmt::Display;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use firn_model::code::Code;

use crate::settings::Fault;

/// Failed while running.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;
/// The function's first contract was refused.
pub(crate) const CONTRACT: u8 = 3;

/// A reason to end that is not a mistake in the settings.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The stable code; `None` for a failure that the function chose itself.
    pub(crate) code: Option<Code>,
    /// What happened.
    pub(crate) cause: String,
    /// What to do about it.
    pub(crate) remedy: String,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Failure {
    /// A failure while running.
    pub(crate) fn new(code: Code, cause: impl Display, remedy: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            cause: cause.to_string(),
            remedy: remedy.into(),
            exit: FAILED,
        }
    }

    /// A command that cannot be meant as it is given.
    pub(crate) fn misused(cause: impl Display, remedy: impl Into<String>) -> Self {
        Self {
            exit: USAGE,
            ..Self::new(Code::BadSetting, cause, remedy)
        }
    }

    /// A failure that the function chose: it is no fault, so there is no code.
    pub(crate) fn chosen(cause: String) -> Self {
        let remedy = "the function refused the request; its text says why".to_owned();
        Self {
            code: None,
            cause,
            remedy,
            exit: FAILED,
        }
    }

    /// Prints it and gives the exit code.
    pub(crate) fn print(&self) -> ExitCode {
        match self.code {
            Some(code) => eprintln!("error {code}: {}", self.cause),
            None => eprintln!("error: {}", self.cause),
        }
        eprintln!("  try: {}", self.remedy);
        ExitCode::from(self.exit)
    }
}

/// Prints every fault of the configuration.
pub(crate) fn faults(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        eprintln!("error {fault}");
        if let Some(remedy) = fault.remedy {
            eprintln!("  try: {remedy}");
        }
    }
    if faults.iter().all(|fault| fault.remedy.is_some()) {
        return ExitCode::from(USAGE);
    }
    eprintln!("  try: firn help dev lists the settings; firn explain says more about a code");
    ExitCode::from(USAGE)
}

/// Prints what clap has to say: help and version on the output, mistakes on the error output.
pub(crate) fn usage(mut error: clap::Error) -> ExitCode {
    if let (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
        && !word.starts_with('-')
        && let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage)
        && usage.to_string().contains("firn dev")
    {
        // `firn dev node index.js` is what everybody tries first.
        let tip = "a command stands after --, for example: firn dev -- node index.js";
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    // Nothing is left to do if the terminal is gone.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}
