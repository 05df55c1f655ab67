//! Path templates: the grammar, and matching a path.
//!
//! ```text
//! template = "/" segment { "/" segment } [ ":" verb ]
//! segment  = "*" | "**" | literal | variable
//! variable = "{" field { "." field } [ "=" segment { "/" segment } ] "}"
//! ```
//! `*` takes one segment, `**` the rest of the path: one or more segments. Either may be empty, as
//! in `/users/` for `/users/{id}`: existing clients rely on it, and an empty id is refused later with
//! a better text. A literal may be empty only at the end, so that `/` and `/users/` can be named.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::percent_decode_str;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    segments: Vec<Segment>,
    verb: Option<String>,
    variables: Vec<Variable>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    One,
    Rest,
}

/// A variable and the segments that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The dotted name of the field it fills.
    pub(crate) field: String,
    segments: Range<usize>,
    /// Whether it takes more than `*`: its value may hold slashes.
    pub(crate) multiple: bool,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong with it, to be read after the name of the rule.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            rest: text.strip_prefix('/').ok_or("does not begin with /")?,
            segments: Vec::new(),
            variables: Vec::new(),
        };
        parser.segments(Inside::Path)?;
        let verb = match parser.rest.strip_prefix(':') {
            None if parser.rest.is_empty() => None,
            None => return Err(format!("has {:?} where a / was expected", parser.rest)),
            Some("") => return Err("has an empty verb after :".to_owned()),
            Some(verb) if verb.contains(['/', ':', '*', '{', '}', '\n']) => {
                return Err(format!("has the verb {verb:?}, which no path can have"));
            }
            Some(verb) => Some(verb.to_owned()),
        };
        let template = Self {
            segments: parser.segments,
            verb,
            variables: parser.variables,
        };
        template.check().map(|()| template)
    }

    fn check(&self) -> Result<(), String> {
        let before_last = &self.segments[..self.segments.len() - 1];
        if before_last.contains(&Segment::Rest) {
            return Err("has ** before its last segment".to_owned());
        }
        if before_last.contains(&Segment::Literal(String::new())) {
            return Err("has an empty segment".to_owned());
        }
        for (i, variable) in self.variables.iter().enumerate() {
            let before = &self.variables[..i];
            if before.iter().any(|other| other.field == variable.field) {
                return Err(format!("has the variable {} twice", variable.field));
            }
        }
        Ok(())
    }

    /// The variables, in their order.
    pub(crate) fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Whether it ends in `:verb`.
    pub(crate) fn has_verb(&self) -> bool {
        self.verb.is_some()
    }

    /// The template with the names of variables erased: what it matches, and nothing else.
    pub(crate) fn erased(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            text.push_str(match segment {
                Segment::Literal(literal) => literal,
                Segment::One => "*",
                Segment::Rest => "**",
            });
        }
        if let Some(verb) = &self.verb {
            text.push(':');
            text.push_str(verb);
        }
        text
    }

    /// Matches a path as it came, percent-encoded; the result is what each variable takes of it.
    pub(crate) fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let path = match &self.verb {
            Some(verb) => path.strip_suffix(verb.as_str())?.strip_suffix(':')?,
            None => path,
        };
        let path = path.strip_prefix('/')?;
        // Where each segment of the template begins and ends in the path.
        let mut spans = Vec::with_capacity(self.segments.len());
        let mut start = 0;
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 {
                start = spans.last().map_or(0, |span: &Range<usize>| span.end);
                path[start..].strip_prefix('/')?;
                start += 1;
            }
            let rest = &path[start..];
            let end = match segment {
                Segment::Rest => path.len(),
                _ => start + rest.find('/').unwrap_or(rest.len()),
            };
            if let Segment::Literal(literal) = segment
                && !same_segment(literal, &path[start..end])
            {
                return None;
            }
            spans.push(start..end);
        }
        let ends_with_path = spans.last().is_some_and(|span| span.end == path.len());
        ends_with_path.then(|| {
            let variables = self.variables.iter();
            variables
                .map(|variable| {
                    let first = &spans[variable.segments.start];
                    let last = &spans[variable.segments.end - 1];
                    &path[first.start..last.end]
                })
                .collect()
        })
    }
}

/// Whether a literal and a segment of a path mean the same, encoded or not.
fn same_segment(literal: &str, segment: &str) -> bool {
    let decoded = |text| -> Cow<'_, [u8]> { percent_decode_str(text).into() };
    literal == segment
        || ((literal.contains('%') || segment.contains('%'))
            && decoded(literal) == decoded(segment))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Path,
    Variable,
}

struct Parser<'t> {
    rest: &'t str,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
}

impl Parser<'_> {
    fn segments(&mut self, inside: Inside) -> Result<(), String> {
        loop {
            self.segment(inside)?;
            match self.rest.strip_prefix('/') {
                Some(rest) => self.rest = rest,
                None => return Ok(()),
            }
        }
    }

    fn segment(&mut self, inside: Inside) -> Result<(), String> {
        if let Some(rest) = self.rest.strip_prefix('{') {
            if inside == Inside::Variable {
                return Err("has a variable inside a variable".to_owned());
            }
            self.rest = rest;
            return self.variable();
        }
        let end = self.rest.find(['/', ':', '{', '}', '=']);
        let end = match end {
            // Only a variable's name and its segments are separated by `=`; in a path it is a letter.
            Some(at) if self.rest[at..].starts_with('=') => {
                at + self.rest[at..]
                    .find(['/', ':', '{', '}'])
                    .unwrap_or(self.rest.len() - at)
            }
            Some(at) => at,
            None => self.rest.len(),
        };
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let segment = match text {
            "*" => Segment::One,
            "**" => Segment::Rest,
            _ if text.contains(['*', '\n']) => {
                return Err(format!("has the segment {text:?}, which mixes * with text"));
            }
            _ => Segment::Literal(text.to_owned()),
        };
        self.segments.push(segment);
        Ok(())
    }

    /// The rest of a variable, after its opening brace.
    fn variable(&mut self) -> Result<(), String> {
        let end = self.rest.find(['=', '}']);
        let end = end.ok_or("has a { without its }")?;
        let (field, rest) = self.rest.split_at(end);
        let is_name = |name: &str| {
            let mut letters = name.bytes();
            letters
                .next()
                .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !field.split('.').all(is_name) {
            return Err(format!(
                "has a variable {field:?}, which is no name of a field"
            ));
        }
        let start = self.segments.len();
        self.rest = rest;
        match rest.strip_prefix('=') {
            Some(segments) => {
                self.rest = segments;
                self.segments(Inside::Variable)?;
            }
            None => self.segments.push(Segment::One),
        }
        self.rest = self
            .rest
            .strip_prefix('}')
            .ok_or_else(|| format!("has a variable {field} without its }}"))?;
        self.variables.push(Variable {
            field: field.to_owned(),
            segments: start..self.segments.len(),
            multiple: self.segments[start..] != [Segment::One],
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
