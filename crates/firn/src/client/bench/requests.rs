//! The requests of a load: a JSON text in which the number of the call may stand.
//!
//! `{n}` is the number of the call, from 0, and `{n%1000}` that number modulo 1000; neither can stand
//! in JSON otherwise but within a string, where `\u007bn}` says the same and is left alone. They are
//! replaced in the text before it is read, so one in a string is part of it, and one outside is a
//! number.

use bytes::Bytes;
use prost_reflect::MethodDescriptor;

use crate::client::call;
use crate::exit::Failure;

/// How many different messages are made before the load begins; more are made when they are sent,
/// which costs the load some microseconds for each.
const MADE_BEFORE_MAX: u64 = 10_000;

/// The requests of a load.
pub(super) struct Requests {
    method: MethodDescriptor,
    parts: Vec<Part>,
    /// All messages that there are, if they are few.
    made: Vec<Bytes>,
}

/// A piece of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The number of the call, modulo this.
    Number(Option<u64>),
}

impl Requests {
    /// Reads the text, and makes the first message, so that what is wrong is found at once.
    pub(super) fn new(method: MethodDescriptor, text: &str) -> Result<Self, Failure> {
        let mut requests = Self {
            method,
            parts: parts(text).map_err(call::wrong)?,
            made: Vec::new(),
        };
        requests.message(0)?;
        if let Some(different) = different(&requests.parts) {
            let made = (0..different).map(|number| requests.message(number));
            requests.made = made.collect::<Result<_, _>>()?;
        }
        Ok(requests)
    }

    /// The message of a call.
    pub(super) fn message(&self, number: u64) -> Result<Bytes, Failure> {
        if !self.made.is_empty() {
            let index = number % self.made.len() as u64;
            return Ok(self.made[index as usize].clone());
        }
        let mut messages = call::messages(&self.method, &filled(&self.parts, number))?;
        Ok(messages.pop().expect("a method without a stream takes one"))
    }
}

/// The text of a call.
fn filled(parts: &[Part], number: u64) -> String {
    let pieces = parts.iter().map(|part| match part {
        Part::Text(text) => text.clone(),
        Part::Number(None) => number.to_string(),
        Part::Number(Some(modulus)) => (number % modulus).to_string(),
    });
    pieces.collect()
}

/// How many different texts there are, if they are few: the least number that all moduli divide.
fn different(parts: &[Part]) -> Option<u64> {
    let mut all = 1u64;
    for part in parts {
        if let Part::Number(modulus) = part {
            let modulus = (*modulus)?;
            let times = modulus / greatest_divisor(all, modulus);
            all = all
                .checked_mul(times)
                .filter(|all| *all <= MADE_BEFORE_MAX)?;
        }
    }
    Some(all)
}

fn greatest_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let (mut rest, mut plain) = (text, String::new());
    while let Some((before, after)) = rest.split_once("{n") {
        plain += before;
        let number = match after.strip_prefix('%') {
            Some(after) => after
                .split_once('}')
                .map(|(digits, after)| (Some(digits), after)),
            None => after.strip_prefix('}').map(|after| (None, after)),
        };
        let Some((modulus, after)) = number else {
            plain += "{n";
            rest = after;
            continue;
        };
        let modulus = match modulus {
            None => None,
            Some(digits) => match digits.parse() {
                Ok(modulus) if modulus > 0 => Some(modulus),
                _ => return Err(format!("{{n%{digits}}}: write a number from 1 after %")),
            },
        };
        parts.push(Part::Text(std::mem::take(&mut plain)));
        parts.push(Part::Number(modulus));
        rest = after;
    }
    plain += rest;
    parts.push(Part::Text(plain));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_call_stands_where_it_is_asked_for() {
        let check = |text: &str, number: u64, expected: &str| {
            let parts = parts(text).unwrap();
            assert_eq!(filled(&parts, number), expected, "{text}");
        };
        check(
            r#"{"id": "a-{n}", "n": {n%3}}"#,
            7,
            r#"{"id": "a-7", "n": 1}"#,
        );
        check("{n}{n%2}", 5, "51");
        // An object whose first name is not in quotes is no JSON; it is left for the reader to say.
        check("{name: 1}", 5, "{name: 1}");
        check(r"\u007bn}", 5, r"\u007bn}");
        check("", 5, "");
    }

    #[test]
    fn a_modulus_is_a_number_from_1() {
        for text in ["{n%0}", "{n%}", "{n%x}", "{n%-1}"] {
            let fault = parts(text).unwrap_err();
            assert!(fault.starts_with(text), "{fault}");
        }
    }

    #[test]
    fn different_texts_are_counted() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(different(&parts(text).unwrap()), expected, "{text}");
        };
        check("none", Some(1));
        check("{n}", None);
        check("{n%1000}", Some(1000));
        check("{n%4}{n%6}", Some(12));
        check("{n%10000}{n%3}", None);
        check("{n%18446744073709551615}", None);
    }
}
