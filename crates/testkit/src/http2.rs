//! An HTTP/2 client that sends exactly the frames that a test says.
//!
//! A library gathers what it sends, and decides when it goes out. Here a message has a DATA frame of its
//! own, as many clients send it, and after [`Client::taken`] the test knows that the other side has read
//! every one of them.
//!
//! # Not here
//! Flow control: the test sends no more than [`Client::window_of_stream`] and
//! [`Client::window_of_connection`] allow. Headers of answers: nobody has asked for them.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::function::within;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The numbers of RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INITIAL_WINDOW_SIZE: u16 = 4;

/// What HTTP/2 lets a side send before it was told more.
const WINDOW_FIRST: u32 = 65_535;

/// What the other side may send: more than a test asks for.
const WINDOW_OURS: u32 = 1 << 30;

/// The length of what is in front of a frame's payload.
const HEAD_BYTES: usize = 9;

/// What is sent at most as one frame, as long as the other side has not said that it takes more.
pub const FRAME_BYTES: usize = 16_384;

/// A connection whose frames the test says.
pub struct Client {
    socket: TcpStream,
    /// What is to be sent.
    out: Vec<u8>,
    read: BytesMut,
    window_of_stream: u32,
    window_of_connection: u32,
    pings: u64,
    pongs: u64,
    answers: HashMap<u32, Answer>,
}

#[derive(Default)]
struct Answer {
    data: Vec<u8>,
    is_over: bool,
}

impl Client {
    /// Connects, and waits for what the other side has to say first.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        let mut client = Self {
            socket,
            out: PREFACE.to_vec(),
            read: BytesMut::new(),
            window_of_stream: WINDOW_FIRST,
            window_of_connection: WINDOW_FIRST,
            pings: 0,
            pongs: 0,
            answers: HashMap::new(),
        };
        let mut window = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        window.put_u32(WINDOW_OURS);
        client.frame(SETTINGS, 0, 0, &window);
        client.frame(WINDOW_UPDATE, 0, 0, &WINDOW_OURS.to_be_bytes());
        client.taken().await;
        // h2 answers the first before it says what it takes on the connection.
        client.taken().await;
        client
    }

    /// What may be sent on a stream before anything of it is read, in bytes.
    pub fn window_of_stream(&self) -> usize {
        self.window_of_stream as usize
    }

    /// What may be sent on the connection before anything of it is read, in bytes.
    pub fn window_of_connection(&self) -> usize {
        self.window_of_connection as usize
    }

    /// Begins a gRPC call. Numbers of streams are odd and rise.
    pub fn call(&mut self, stream: u32, path: &str) {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        let mut block = Vec::new();
        for (name, value) in fields {
            // RFC 7541, section 6.2.2: as it is, and not to be remembered.
            block.push(0);
            for text in [name, value] {
                let length = u8::try_from(text.len()).expect("a short text");
                assert!(length < 127, "{text:?} is long");
                block.push(length);
                block.extend_from_slice(text.as_bytes());
            }
        }
        self.frame(HEADERS, END_HEADERS, stream, &block);
    }

    /// Sends a gRPC message in a DATA frame of its own.
    pub fn message(&mut self, stream: u32, message: &[u8]) {
        let mut framed = vec![0];
        framed.put_u32(u32::try_from(message.len()).expect("a message below 4 GiB"));
        framed.extend_from_slice(message);
        self.data(stream, &framed);
    }

    /// Sends a DATA frame.
    pub fn data(&mut self, stream: u32, data: &[u8]) {
        self.frame(DATA, 0, stream, data);
    }

    /// Ends a stream's requests.
    pub fn end(&mut self, stream: u32) {
        self.frame(DATA, END_STREAM, stream, &[]);
    }

    /// Waits until the other side has read everything that was sent.
    ///
    /// # Panics
    /// If it ends the connection instead.
    pub async fn taken(&mut self) {
        self.pings += 1;
        self.frame(PING, 0, 0, &self.pings.to_be_bytes());
        self.write().await;
        while self.pongs < self.pings {
            self.on_frame().await;
        }
    }

    /// Waits for the end of a call, and gives the messages of its answer, each in its frame.
    ///
    /// # Panics
    /// If the other side ends the call or the connection without an answer.
    pub async fn answer(&mut self, stream: u32) -> Vec<u8> {
        self.write().await;
        while !self.answers.entry(stream).or_default().is_over {
            self.on_frame().await;
        }
        self.answers.remove(&stream).expect("an answer").data
    }

    /// Adds a frame to what is to be sent.
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        assert!(payload.len() <= FRAME_BYTES, "no frame is that large");
        self.out.put_uint(payload.len() as u64, 3);
        self.out.extend_from_slice(&[kind, flags]);
        self.out.put_u32(stream);
        self.out.extend_from_slice(payload);
    }

    async fn write(&mut self) {
        let out = std::mem::take(&mut self.out);
        // Whoever has ended the connection says why in what is read next.
        let _ = self.socket.write_all(&out).await;
    }

    /// Takes the next frame.
    async fn on_frame(&mut self) {
        let (head, mut payload) = within("a frame", self.next_frame()).await;
        let [.., kind, flags, _, _, _, _] = head;
        let stream = (&head[5..]).get_u32();
        let is_ack = flags & ACK != 0;
        match kind {
            DATA | HEADERS => {
                let answer = self.answers.entry(stream).or_default();
                answer.is_over |= flags & END_STREAM != 0;
                if kind == DATA {
                    answer.data.extend_from_slice(&payload);
                }
            }
            RST_STREAM => panic!("stream {stream} was reset: {}", payload.get_u32()),
            GOAWAY => {
                let (_, reason) = (payload.get_u32(), payload.get_u32());
                panic!("the connection was ended: {reason}, {payload:?}");
            }
            SETTINGS if !is_ack => {
                while payload.has_remaining() {
                    let (name, value) = (payload.get_u16(), payload.get_u32());
                    if name == INITIAL_WINDOW_SIZE {
                        self.window_of_stream = value;
                    }
                }
                self.frame(SETTINGS, ACK, 0, &[]);
            }
            WINDOW_UPDATE if stream == 0 => self.window_of_connection += payload.get_u32(),
            PING if is_ack => self.pongs += 1,
            PING => self.frame(PING, ACK, 0, &payload),
            _ => {}
        }
    }

    async fn next_frame(&mut self) -> ([u8; HEAD_BYTES], Bytes) {
        loop {
            if let Some((head, rest)) = self.read.split_first_chunk::<HEAD_BYTES>() {
                let (head, length) = (*head, (&head[..]).get_uint(3) as usize);
                if rest.len() >= length {
                    self.read.advance(HEAD_BYTES);
                    return (head, self.read.split_to(length).freeze());
                }
            }
            let count = self.socket.read_buf(&mut self.read).await;
            let count = count.expect("a connection that goes on");
            assert!(count > 0, "the connection was closed");
        }
    }
}
