//! Cuts a stream of bytes into JSON values that follow each other.
//!
//! Values may be separated by line ends, other white space, or nothing. The cut looks at brackets and
//! strings only; whether a piece is valid JSON is for who reads it.

use bytes::{Bytes, BytesMut};

/// Collects bytes until a value is complete.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// Bytes that were not handed out yet, from the start of a value.
    buffer: BytesMut,
    /// How much of the buffer was looked at.
    seen: usize,
    depth: usize,
    inside: Inside,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Between values, or between the parts of an object or array.
    #[default]
    Structure,
    /// A number, `true`, `false` or `null` outside all brackets.
    Word,
    String,
    /// After a backslash in a string.
    Escape,
}

impl Splitter {
    /// Adds bytes that arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes of the value that is not complete yet.
    pub(super) fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next complete value.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        while let Some(&byte) = self.buffer.get(self.seen) {
            let at_start = self.seen == 0;
            if at_start && byte.is_ascii_whitespace() {
                let blank = self.buffer.iter().take_while(|b| b.is_ascii_whitespace());
                let blank = blank.count();
                let _ = self.buffer.split_to(blank);
                continue;
            }
            // A word ends before what follows it; everything else ends with its last byte.
            if self.inside == Inside::Word && (byte.is_ascii_whitespace() || is_mark(byte)) {
                return Some(self.cut());
            }
            self.seen += 1;
            if self.step(byte, at_start) {
                return Some(self.cut());
            }
        }
        None
    }

    /// What is left at the end: a last word, or a value that is not complete.
    pub(super) fn finish(mut self) -> Option<Bytes> {
        let left = self.next();
        debug_assert!(left.is_none(), "finished before all values were taken");
        (!self.buffer.is_empty()).then(|| self.buffer.freeze())
    }

    /// Looks at one byte; `true` if it completes a value.
    fn step(&mut self, byte: u8, at_start: bool) -> bool {
        match (self.inside, byte) {
            (Inside::Escape, _) => self.inside = Inside::String,
            (Inside::String, b'\\') => self.inside = Inside::Escape,
            (Inside::String, b'"') => {
                self.inside = Inside::Structure;
                return self.depth == 0;
            }
            (Inside::String | Inside::Word, _) => {}
            (Inside::Structure, b'"') => self.inside = Inside::String,
            (Inside::Structure, b'{' | b'[') => self.depth += 1,
            (Inside::Structure, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            // A mark where a value should begin is a piece of its own, for the reader to refuse.
            (Inside::Structure, _) if at_start && is_mark(byte) => return true,
            (Inside::Structure, _) if at_start => self.inside = Inside::Word,
            (Inside::Structure, _) => {}
        }
        false
    }

    fn cut(&mut self) -> Bytes {
        let value = self.buffer.split_to(self.seen).freeze();
        self.seen = 0;
        self.depth = 0;
        self.inside = Inside::Structure;
        value
    }
}

/// Whether a byte has a meaning outside strings.
fn is_mark(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b'"' | b',' | b':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &[u8], step: usize) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut values = Vec::new();
        for part in text.chunks(step.max(1)) {
            splitter.push(part);
            while let Some(value) = splitter.next() {
                values.push(value);
            }
        }
        values.extend(splitter.finish());
        let values = values.iter();
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn values_are_cut_wherever_they_end() {
        let check = |text: &str, expected: &[&str]| {
            for step in 1..=text.len().max(1) {
                assert_eq!(values(text.as_bytes(), step), expected, "{text} by {step}");
            }
        };
        check("", &[]);
        check(" \r\n", &[]);
        check("{}", &["{}"]);
        check("{\"a\":1}\n{\"a\":2}\n", &["{\"a\":1}", "{\"a\":2}"]);
        check("{}{}", &["{}", "{}"]);
        check(
            "{\n \"a\": {\"b\": []}\n}\n",
            &["{\n \"a\": {\"b\": []}\n}"],
        );
        check(r#"{"a":"}\"\\"} "x""#, &[r#"{"a":"}\"\\"}"#, r#""x""#]);
        check("1 true null", &["1", "true", "null"]);
        check("1\"a\"{}", &["1", "\"a\"", "{}"]);
        check("{\"a\":", &["{\"a\":"]);
        check("}{}", &["}", "{}"]);
        check(",1", &[",", "1"]);
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost(text in "[{}\\[\\]\",:\\\\ a1\n]{0,60}", step in 1..20usize) {
            let solid = |text: &str| text.replace([' ', '\n'], "");
            let values = values(text.as_bytes(), step).concat();
            prop_assert_eq!(solid(&values), solid(&text));
        }
    }

    #[test]
    fn fuzzed_streams_are_cut_the_same_however_they_arrive() {
        bolero::check!()
            .with_type::<(Vec<u8>, u8)>()
            .for_each(|(text, step)| {
                assert_eq!(values(text, usize::from(*step)), values(text, text.len()));
            });
    }
}
