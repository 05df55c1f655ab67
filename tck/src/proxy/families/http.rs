//! HTTP/1.1 as simple clients speak it: one request for each connection.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a client sends.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) verb: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// What comes back.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// With names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn new(verb: &'static str, path: impl Into<String>) -> Self {
        Self {
            verb,
            path: path.into(),
            ..Self::default()
        }
    }

    /// With JSON.
    pub(super) fn json(self, body: &str) -> Self {
        self.body("application/json", body.as_bytes().to_vec())
    }

    pub(super) fn body(mut self, kind: &str, body: Vec<u8>) -> Self {
        self.headers.push(("content-type", kind.to_owned()));
        self.body = body;
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sends it, and reads all that comes back.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub(super) async fn send(self, address: &str) -> io::Result<Response> {
        let mut stream = TcpStream::connect(address).await?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\nconnection: close\r\n",
            self.verb,
            self.path,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body);
        stream.write_all(&bytes).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        parse(&answer).ok_or_else(|| io::Error::other("an answer that is no HTTP"))
    }
}

impl Response {
    /// A header; empty if it is not there.
    pub(super) fn header(&self, name: &str) -> &str {
        let mut all = self.headers.iter();
        all.find(|(one, _)| one == name)
            .map_or("", |(_, value)| value)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<_> = lines.map(header).collect::<Option<_>>()?;
    let rest = &answer[end + 4..];
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let body = match is_chunked {
        true => chunks(rest)?,
        false => rest.to_vec(),
    };
    Some(Response {
        status,
        headers,
        body,
    })
}

fn chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = std::str::from_utf8(&rest[..end]).ok()?;
        let length = length.split(';').next()?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend(rest.get(..length)?);
        rest = rest.get(length + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let response = parse(answer).expect("an answer");
        assert_eq!((response.status, &*response.body), (200, &b"abcde"[..]));
    }

    #[test]
    fn damage_is_seen() {
        for answer in [&b""[..], b"HTTP/1.1", b"HTTP/1.1 x\r\n\r\n"] {
            assert!(parse(answer).is_none());
        }
        assert!(chunks(b"5\r\nab").is_none());
    }
}
