//! Percent-decoding of values in paths and queries.

/// Which escapes are left as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Nothing,
    /// `%2F`: a value with slashes of its own must not be taken for another.
    Slash,
}

/// Decodes `%XX`, and `+` as a space.
///
/// # Errors
/// What is wrong: an escape that is none, or bytes that are not UTF-8.
pub(super) fn decode(text: &str, keep: Keep) -> Result<String, &'static str> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_first_chunk().ok_or("holds a % without digits")?;
                let byte = escaped(*digits).ok_or("holds a % without two hexadecimal digits")?;
                rest = after;
                if byte == b'/' && keep == Keep::Slash {
                    decoded.push(b'%');
                    decoded.extend(digits);
                } else {
                    decoded.push(byte);
                }
            }
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| "is not UTF-8")
}

fn escaped(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let check = |text, keep, expected: Option<&str>| {
            let decoded = decode(text, keep).ok();
            assert_eq!(decoded.as_deref(), expected, "{text}");
        };
        check("", Keep::Nothing, Some(""));
        check("a+b%20c", Keep::Nothing, Some("a b c"));
        check("%2B", Keep::Nothing, Some("+"));
        check("%c3%BC", Keep::Nothing, Some("ü"));
        check("a%2Fb%2f", Keep::Nothing, Some("a/b/"));
        check("a%2Fb%2f/c", Keep::Slash, Some("a%2Fb%2f/c"));
        check("a%3Ab", Keep::Slash, Some("a:b"));
        check("%", Keep::Nothing, None);
        check("%2", Keep::Nothing, None);
        check("%+1", Keep::Nothing, None);
        check("%zz", Keep::Nothing, None);
        check("%ff", Keep::Nothing, None);
    }
}
