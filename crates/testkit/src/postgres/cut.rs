//! A proxy that cuts connections where a test wants it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// The next answer is lost: what the server sends is not passed on and its connection is cut; then
    /// others pass again.
    LoseAnswer,
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

struct Shared {
    rule: Mutex<Rule>,
    /// There is another rule.
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
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
        for stream in self.shared.open().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
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

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
        if *self.rule() == Rule::Refuse {
            return client.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect(server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        self.open()
            .extend([client.try_clone()?, server.try_clone()?]);
        let requests = (client.try_clone()?, server.try_clone()?);
        let shared = self.clone();
        thread::spawn(move || shared.carry(requests.0, requests.1, Shared::requests));
        let shared = self.clone();
        thread::spawn(move || shared.carry(server, client, Shared::answers));
        Ok(())
    }

    /// Carries bytes until an end, or until the rule lets fewer pass than there are.
    fn carry(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        passing: impl Fn(&Self, usize) -> usize,
    ) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let passing = passing(self, count);
            if to.write_all(&bytes[..passing]).is_err() {
                break;
            }
            if passing < count {
                self.cut.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn requests(&self, count: usize) -> usize {
        let mut rule = self.rule();
        let Rule::CutRequestAfter(left) = *rule else {
            return count;
        };
        let passing = count.min(left);
        *rule = match passing < count {
            true => Rule::Pass,
            false => Rule::CutRequestAfter(left - passing),
        };
        passing
    }

    fn answers(&self, count: usize) -> usize {
        let mut rule = self.rule();
        if let Rule::Delay(delay) = *rule {
            drop(rule);
            thread::sleep(delay);
            return count;
        }
        while *rule == Rule::Hold {
            rule = self
                .changed
                .wait(rule)
                .unwrap_or_else(PoisonError::into_inner);
        }
        match *rule {
            // What was held comes to nobody any more.
            Rule::Refuse => 0,
            Rule::LoseAnswer => {
                *rule = Rule::Pass;
                0
            }
            _ => count,
        }
    }
}
