//! `firn explain`: the page of an error code, which is part of this binary.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use firn_model::code::Code;

/// The numbers of codes and their pages.
const PAGES: &[(u16, &str)] = &include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The command line.
pub(crate) fn command() -> Command {
    Command::new("explain")
        .about("Says what an error code means and what to do")
        .arg(
            Arg::new("code")
                .value_name("CODE")
                .required(true)
                .value_parser(code)
                .help("FIRN-nnnn, as errors and logs show it, or the number alone"),
        )
        .after_help("Example:\n  firn explain FIRN-1004")
}

fn code(text: &str) -> Result<Code, String> {
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_prefix("FIRN-").unwrap_or(&upper).parse().ok();
    let code = number.and_then(Code::from_number);
    code.ok_or_else(|| "there is no such code; codes are FIRN- and four digits".to_owned())
}

/// Prints the page.
pub(crate) fn run(flags: &ArgMatches) -> ExitCode {
    if let Some(code) = flags.get_one::<Code>("code") {
        print!("{}", page(*code));
    }
    ExitCode::SUCCESS
}

fn page(code: Code) -> &'static str {
    let found = PAGES.iter().find(|(number, _)| *number == code.number());
    found.map_or("", |(_, page)| page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        for known in Code::ALL {
            assert!(page(*known).starts_with(&format!("# {known}: ")), "{known}");
        }
    }

    #[test]
    fn codes_are_understood_as_people_write_them() {
        for text in ["FIRN-1004", "firn-1004", "1004"] {
            assert_eq!(code(text), Ok(Code::PortTaken), "{text}");
        }
        for text in ["", "FIRN-", "FIRN-9999", "x"] {
            assert!(code(text).is_err(), "{text}");
        }
    }
}
