//! A proxy that cuts connections where a test wants it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What becomes of the bytes on all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// They pass.
    Pass,
    /// So many more bytes of clients pass, then a connection is cut, and others pass again.
    CutRequestAfter(usize),
    /// What clients send passes up to these bytes. The client is cut there, and the server goes on to
    /// wait for the rest, as if the network had forgotten the connection; then others pass again.
    ForgetBefore(&'static [u8]),
    /// The next answer is lost: what the server sends is not passed on and its connection is cut; then
    /// others pass again.
    LoseAnswer,
    /// The next answer is lost, and these bytes come in its place.
    AnswerInstead(&'static [u8]),
    /// What the server sends arrives that much later, as if the server were slow.
    Delay(Duration),
    /// What the server sends waits, until there is another rule.
    Hold,
    /// Connections are cut as soon as they are made, or when an answer comes.
    Refuse,
}

/// A proxy on a port of its own. It ends with the process; its connections end with this value.
pub struct Cut {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// A connection: both its ends, and whether it carries nothing any more.
#[derive(Clone)]
struct Pair {
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
    is_silent: Arc<AtomicBool>,
}

impl Pair {
    fn end(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::SeqCst)
    }
}

struct Shared {
    rule: Mutex<Rule>,
    /// There is another rule.
    changed: Condvar,
    open: Mutex<Vec<Pair>>,
    /// How many connections a rule has cut.
    cut: AtomicUsize,
}

impl Cut {
    /// A proxy before `server` through which everything passes.
    ///
    /// # Panics
    /// If there is no port for it.
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            rule: Mutex::new(Rule::Pass),
            changed: Condvar::new(),
            open: Mutex::default(),
            cut: AtomicUsize::new(0),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let _ = accepting.accept(client, server);
            }
        });
        Self { address, shared }
    }

    /// What is to happen from now on.
    pub fn rule(&self, rule: Rule) {
        *self.shared.rule() = rule;
        self.shared.changed.notify_all();
    }

    /// Cuts all connections now.
    pub fn cut(&self) {
        for pair in self.shared.open().drain(..) {
            pair.end();
        }
    }

    /// The connections that are there carry nothing any more, and stay open. Others pass.
    pub fn silence(&self) {
        for pair in self.shared.open().iter() {
            pair.is_silent.store(true, Ordering::SeqCst);
        }
    }

    /// How many connections a rule has cut so far.
    pub fn cut_count(&self) -> usize {
        self.shared.cut.load(Ordering::SeqCst)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.rule(Rule::Refuse);
        self.cut();
    }
}

impl Shared {
    fn rule(&self) -> std::sync::MutexGuard<'_, Rule> {
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Pair>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
        if *self.rule() == Rule::Refuse {
            return client.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect(server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let pair = Pair {
            client: Arc::new(client),
            server: Arc::new(server),
            is_silent: Arc::default(),
        };
        self.open().push(pair.clone());
        let (shared, requests) = (self.clone(), pair.clone());
        thread::spawn(move || {
            shared.carry(
                &requests.client,
                &requests.server,
                &requests,
                Self::requests,
            );
        });
        let shared = self.clone();
        thread::spawn(move || shared.carry(&pair.server, &pair.client, &pair, Self::answers));
        Ok(())
    }

    /// Carries bytes until an end, or until the rule says another.
    fn carry(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        pair: &Pair,
        passing: impl Fn(&Self, &[u8]) -> Passing,
    ) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if pair.is_silent() {
                continue;
            }
            let Passing { count, then } = passing(self, &bytes[..count]);
            if to.write_all(&bytes[..count]).is_err() && !pair.is_silent() {
                break;
            }
            match then {
                Then::GoOn => continue,
                Then::Cut(said) => {
                    let _ = to.write_all(said);
                }
                Then::Forget => {
                    pair.is_silent.store(true, Ordering::SeqCst);
                    let _ = pair.client.shutdown(Shutdown::Both);
                }
            }
            self.cut.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if !pair.is_silent() {
            pair.end();
        }
    }

    fn requests(&self, bytes: &[u8]) -> Passing {
        let mut rule = self.rule();
        let (count, then, next) = match *rule {
            Rule::CutRequestAfter(left) if bytes.len() > left => (left, Then::Cut(&[]), Rule::Pass),
            Rule::CutRequestAfter(left) => {
                let left = Rule::CutRequestAfter(left - bytes.len());
                (bytes.len(), Then::GoOn, left)
            }
            Rule::ForgetBefore(text) => {
                let mut parts = bytes.windows(text.len());
                match parts.position(|part| part == text) {
                    Some(place) => (place, Then::Forget, Rule::Pass),
                    None => (bytes.len(), Then::GoOn, *rule),
                }
            }
            other => (bytes.len(), Then::GoOn, other),
        };
        *rule = next;
        Passing { count, then }
    }

    fn answers(&self, bytes: &[u8]) -> Passing {
        let mut rule = self.rule();
        if let Rule::Delay(delay) = *rule {
            drop(rule);
            thread::sleep(delay);
            return Passing::all(bytes);
        }
        while *rule == Rule::Hold {
            rule = self
                .changed
                .wait(rule)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let said: &'static [u8] = match *rule {
            // What was held comes to nobody any more.
            Rule::Refuse => return Passing::cut(&[]),
            Rule::LoseAnswer => &[],
            Rule::AnswerInstead(said) => said,
            _ => return Passing::all(bytes),
        };
        *rule = Rule::Pass;
        Passing::cut(said)
    }
}

/// How many of some bytes pass, and what becomes of the connection then.
struct Passing {
    count: usize,
    then: Then,
}

enum Then {
    GoOn,
    /// It is cut, after these were said to whom the bytes were for.
    Cut(&'static [u8]),
    /// The client is cut, the server is not.
    Forget,
}

impl Passing {
    fn all(bytes: &[u8]) -> Self {
        Self {
            count: bytes.len(),
            then: Then::GoOn,
        }
    }

    /// None of them pass.
    fn cut(said: &'static [u8]) -> Self {
        Self {
            count: 0,
            then: Then::Cut(said),
        }
    }
}
