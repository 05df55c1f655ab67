//! As much of an HTTP/1.1 client as the demo needs: requests with a JSON body, one after the other
//! on one connection.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long the answer to the question whether Firn is ready may take.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// Why there is no good answer.
#[derive(Debug)]
pub(crate) enum Error {
    /// The connection broke before a whole answer was there. The request may have been served.
    Broken(io::Error),
    /// The answer is another one than 200.
    Refused { status: u16, text: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(cause) => write!(f, "the connection broke: {cause}"),
            Self::Refused { status, text } => write!(f, "answered with {status}: {}", text.trim()),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(cause: io::Error) -> Self {
        Self::Broken(cause)
    }
}

/// A connection that is kept open.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::open_with(address, ANSWER_LIMIT)
    }

    fn open_with(address: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        Ok(Self {
            address,
            stream: BufReader::new(stream),
        })
    }

    /// Posts a JSON body; gives the body of the answer.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Result<String, Error> {
        self.request("POST", path, body)
    }

    fn request(&mut self, verb: &str, path: &str, body: &str) -> Result<String, Error> {
        let request = format!(
            "{verb} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, text) = read_answer(&mut self.stream)?;
        match status {
            200 => Ok(text),
            status => Err(Error::Refused { status, text }),
        }
    }
}

/// Whether a GET of this path is answered with 200.
pub(crate) fn is_ready(address: SocketAddr, path: &str) -> bool {
    Connection::open_with(address, READY_LIMIT)
        .is_ok_and(|mut connection| connection.request("GET", path, "").is_ok())
}

/// Reads one answer whose length is told in its header.
fn read_answer(stream: &mut impl BufRead) -> io::Result<(u16, String)> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    let mut next_line = |stream: &mut dyn BufRead| -> io::Result<String> {
        line.clear();
        match stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let first = next_line(stream)?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| malformed("no status line"))?;
    let mut length = None;
    loop {
        let header = next_line(stream)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    let length: usize = length.ok_or_else(|| malformed("an answer without content-length"))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_one_after_the_other() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let mut stream = &bytes[..];
        assert_eq!(read_answer(&mut stream).unwrap(), (200, "{}".to_owned()));
        assert_eq!(read_answer(&mut stream).unwrap(), (404, String::new()));
        assert_eq!(
            read_answer(&mut stream).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn answers_that_were_cut_off_are_errors() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}";
        assert!(read_answer(&mut &bytes[..]).is_err());
    }
}
