//! Where functions dial: a TCP port or a socket in the file system, plain or with TLS.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Address, BindError};

/// A socket that listens.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens at an address; gives it back with the port that was found if 0 was asked for.
    pub(super) async fn bind(address: &Address) -> io::Result<(Self, Address)> {
        Ok(match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                (Self::Tcp(listener), Address::Tcp(address))
            }
            Address::Unix(path) => {
                remove_left_behind(path).await;
                (Self::Unix(UnixListener::bind(path)?), address.clone())
            }
        })
    }

    /// The next who dials, and how it is named in the log. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Socket>, String)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Ok((Box::new(socket), peer.to_string()))
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok((Box::new(socket), "unix".to_owned()))
            }
        }
    }
}

/// What bytes come and go on.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Removes a socket that an earlier run left, if nobody answers there.
async fn remove_left_behind(path: &Path) {
    // Anything else that is there belongs to somebody.
    let is_socket = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket
        && let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        // If it cannot be removed, binding says so.
        let _ = std::fs::remove_file(path);
    }
}

/// Reads the certificate chain and its key.
pub(super) fn acceptor((certificate, key): &(PathBuf, PathBuf)) -> Result<TlsAcceptor, BindError> {
    let fault = |path: &Path, cause: String| BindError::Tls {
        path: path.to_owned(),
        cause,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| fault(certificate, error.to_string()))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| fault(key, error.to_string()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| fault(certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
