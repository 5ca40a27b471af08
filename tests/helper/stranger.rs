//! Strangers that speak TLS, and do not know the phrase.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ED25519};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName as Subject, Error,
    ServerConfig, SignatureScheme, StreamOwned,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::PATIENCE;

/// Accepts any certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[Subject] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

fn provider(group: &'static dyn SupportedKxGroup) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    })
}

fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    (certificate.into(), key.into())
}

fn client(group: &'static dyn SupportedKxGroup, certified: bool) -> ClientConfig {
    let provider = provider(group);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let mut config = if certified {
        let (certificate, key) = certificate();
        builder
            .with_client_auth_cert(vec![certificate], key)
            .unwrap()
    } else {
        builder.with_no_client_auth()
    };
    config.enable_sni = false;
    config
}

fn server() -> ServerConfig {
    let provider = provider(aws_lc_rs::kx_group::X25519MLKEM768);
    let (certificate, key) = certificate();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Anybody(provider)))
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.send_tls13_tickets = 0;
    config
}

fn nobody() -> ServerName<'static> {
    ServerName::try_from("nobody.invalid").unwrap()
}

/// A stranger with a TLS library.
pub struct Stranger {
    group: &'static dyn SupportedKxGroup,
    certified: bool,
}

/// A connection on which TLS is up, in the stranger's view.
pub struct Shown {
    /// The listener's certificate.
    pub certificate: Vec<u8>,
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Stranger {
    /// Does everything as a peer does, up to the end of TLS.
    pub fn with_all() -> Self {
        Self {
            group: aws_lc_rs::kx_group::X25519MLKEM768,
            certified: true,
        }
    }

    pub fn without_certificate() -> Self {
        Self {
            certified: false,
            ..Self::with_all()
        }
    }

    pub fn without_post_quantum() -> Self {
        Self {
            group: aws_lc_rs::kx_group::X25519,
            ..Self::with_all()
        }
    }

    /// Goes through the TLS handshake on a connection.
    pub fn handshake(&self, stream: TcpStream) -> io::Result<Shown> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let config = Arc::new(client(self.group, self.certified));
        let tls = ClientConnection::new(config, nobody()).unwrap();
        let mut stream = StreamOwned::new(tls, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let certificate = stream.conn.peer_certificates().unwrap()[0].to_vec();
        Ok(Shown {
            certificate,
            stream,
        })
    }
}

impl Shown {
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Everything that arrives until the other end closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut block = [0; 4096];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return all,
                Ok(read) => all.extend(&block[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("the connection stays open")
                }
                // An alert, a reset, or an end without close_notify.
                Err(_) => return all,
            }
        }
    }
}

/// The ClientHello of a client older than TLS 1.3.
pub fn older_hello() -> Vec<u8> {
    let extension = |kind: u16, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&kind.to_be_bytes(), &length, content].concat()
    };
    let extensions = [
        // supported_groups: x25519, secp256r1
        extension(0x000a, &[0, 4, 0, 0x1d, 0, 0x17]),
        // ec_point_formats: uncompressed
        extension(0x000b, &[1, 0]),
        // signature_algorithms: ed25519, ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256, rsa_pkcs1_sha256
        extension(0x000d, &[0, 8, 8, 7, 4, 3, 8, 4, 4, 1]),
        // extended_master_secret
        extension(0x0017, &[]),
    ]
    .concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let body = [
        &[3, 3][..],
        &[0x5a; 32],
        // no session; ECDHE with AES-GCM and ChaCha20; no compression
        &[0],
        &[0, 8, 0xc0, 0x2b, 0xc0, 0x2f, 0xcc, 0xa9, 0xcc, 0xa8],
        &[1, 0],
        &length,
        &extensions,
    ]
    .concat();
    let length = u16::try_from(body.len()).unwrap();
    let hello = [&[1, 0][..], &length.to_be_bytes(), &body].concat();
    [&[22, 3, 1][..], &(length + 4).to_be_bytes(), &hello].concat()
}

/// An attacker in the middle, with certificates of its own on both sides, that forwards everything
/// inside TLS.
pub struct Interceptor {
    pub addr: SocketAddr,
    passed: Arc<Mutex<[usize; 2]>>,
    _runtime: tokio::runtime::Runtime,
}

impl Interceptor {
    /// How many bytes of plain text went to the listener, and to the dialler.
    pub fn passed(&self) -> [usize; 2] {
        *self.passed.lock().unwrap()
    }
}

/// Begins to intercept connections to this address.
pub fn interceptor(target: &str) -> Interceptor {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let addr = listener.local_addr().unwrap();
    let passed = Arc::new(Mutex::new([0, 0]));
    let (target, counts) = (target.to_owned(), Arc::clone(&passed));
    runtime.spawn(async move {
        while let Ok((dialler, _)) = listener.accept().await {
            // A connection that fails is over; others may follow.
            tokio::spawn(intercept(dialler, target.clone(), Arc::clone(&counts)));
        }
    });
    Interceptor {
        addr,
        passed,
        _runtime: runtime,
    }
}

async fn intercept(
    dialler: tokio::net::TcpStream,
    target: String,
    counts: Arc<Mutex<[usize; 2]>>,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(server()));
    let dialler = acceptor.accept(dialler).await?;
    let group = aws_lc_rs::kx_group::X25519MLKEM768;
    let connector = TlsConnector::from(Arc::new(client(group, true)));
    let listener = tokio::net::TcpStream::connect(target).await?;
    let listener = connector.connect(nobody(), listener).await?;
    let (from_dialler, to_dialler) = tokio::io::split(dialler);
    let (from_listener, to_listener) = tokio::io::split(listener);
    tokio::select! {
        _ = pass(from_dialler, to_listener, 0, &counts) => (),
        _ = pass(from_listener, to_dialler, 1, &counts) => (),
    }
    Ok(())
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    side: usize,
    counts: &Mutex<[usize; 2]>,
) -> io::Result<()> {
    let mut block = [0; 4096];
    loop {
        let read = from.read(&mut block).await?;
        if read == 0 {
            return Ok(());
        }
        counts.lock().unwrap()[side] += read;
        to.write_all(&block[..read]).await?;
        to.flush().await?;
    }
}
