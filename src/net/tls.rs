//! The TLS channel under every link (PROTOCOL.md, "TLS"): version 1.3, one key exchange, one
//! cipher, throwaway certificates on both sides, and no state that outlives the connection.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    PeerMisbehaved, ServerConfig, ServerConnection, SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::admission_wait::AdmissionWait;
use super::{certificate, socket};
use crate::proto::handshake::Channel;
use crate::proto::kdf;
use crate::secret::Secret;

/// The library demands a server name. Without SNI it does not send it.
const NOBODY: &str = "sesame.invalid";

/// How many bytes of a flight are read at once: more than any of sesame's has.
const FLIGHT: usize = 4096;

/// What carries the bytes of a connection: a socket or a circuit.
pub trait Transport {
    /// Waits until something has arrived, or the connection has ended.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes some of what has arrived, without waiting; zero means the end.
    fn receive(&self, wire: &mut [u8]) -> io::Result<usize>;

    /// Sends all these bytes.
    fn send(&mut self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
}

impl Transport for TcpStream {
    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }

    fn receive(&self, wire: &mut [u8]) -> io::Result<usize> {
        socket::read(self, wire)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await
    }
}

/// A connection on which TLS is up.
pub struct Secured<S = TcpStream> {
    /// What carries it.
    pub stream: S,
    /// The TLS state, to be driven by hand.
    pub tls: Connection,
    /// The values that bind the handshake above TLS to this connection.
    pub channel: Channel,
}

/// Makes TLS connections. Its content is constant.
#[derive(Clone)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    verifier: Arc<AnySesame>,
}

impl Tls {
    /// With the one cipher suite and the one key exchange that sesame speaks.
    pub fn new() -> Self {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768],
            ..aws_lc_rs::default_provider()
        };
        let algorithms = provider.signature_verification_algorithms;
        Self {
            provider: Arc::new(provider),
            verifier: Arc::new(AnySesame { algorithms }),
        }
    }

    /// The dialler's side of a handshake. It has no deadline of its own.
    ///
    /// # Errors
    /// The socket's, or one that holds the [`rustls::Error`].
    pub async fn dial(&self, stream: TcpStream) -> io::Result<Secured> {
        let (once, config, nobody) = self.dialler()?;
        let connector = TlsConnector::from(config);
        let (stream, tls) = connector.connect(nobody, stream).await?.into_inner();
        once.secured(stream, Connection::Client(tls))
    }

    /// As [`Self::dial`], over something other than a socket.
    ///
    /// # Errors
    /// The transport's, or one that holds the [`rustls::Error`].
    pub async fn dial_over<S: Transport>(
        &self,
        stream: S,
        turns: &AdmissionWait,
    ) -> io::Result<Secured<S>> {
        let (once, config, nobody) = self.dialler()?;
        let tls = ClientConnection::new(config, nobody).map_err(io::Error::other)?;
        let tls = Connection::Client(tls);
        let mut begun = Handshake { once, tls };
        let hello = begun.unsent();
        begun.complete(stream, turns, hello, Ok(())).await
    }

    /// The listener's side of a handshake, each step of which waits for admission in `turns`. It
    /// has no deadline of its own.
    ///
    /// # Errors
    /// The transport's, or one that holds the [`rustls::Error`].
    pub async fn accept<S: Transport>(
        &self,
        stream: S,
        turns: &AdmissionWait,
    ) -> io::Result<Secured<S>> {
        self.serve(stream, turns, Once::new).await
    }

    async fn serve<S: Transport>(
        &self,
        stream: S,
        turns: &AdmissionWait,
        once: impl Fn() -> Result<Arc<Once>, Error>,
    ) -> io::Result<Secured<S>> {
        stream.readable().await?;
        // Makes the TLS state only after the client has sent something.
        let begin = || {
            let once = once().map_err(io::Error::other)?;
            let config = self.server(Arc::clone(&once)).map_err(io::Error::other)?;
            let tls = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
            let tls = Connection::Server(tls);
            let mut begun = Handshake { once, tls };
            let (answer, result) = begun.advance(&stream);
            io::Result::Ok((begun, answer, result))
        };
        let (begun, answer, result) = turns.work(begin).await?;
        begun.complete(stream, turns, answer, result).await
    }

    /// What a dialler's side begins with.
    fn dialler(&self) -> io::Result<(Arc<Once>, Arc<ClientConfig>, ServerName<'static>)> {
        let once = Once::new().map_err(io::Error::other)?;
        let config = self.client(Arc::clone(&once)).map_err(io::Error::other)?;
        let nobody = ServerName::try_from(NOBODY).map_err(io::Error::other)?;
        Ok((once, Arc::new(config), nobody))
    }

    fn client(&self, once: Arc<Once>) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier) as _)
            .with_client_cert_resolver(once);
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn server(&self, once: Arc<Once>) -> Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::clone(&self.verifier) as _)
            .with_cert_resolver(once);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

/// One side of a handshake under way.
struct Handshake {
    once: Arc<Once>,
    tls: Connection,
}

impl Handshake {
    /// Sends the first answer, and goes on until TLS is up. Each further step waits for admission.
    async fn complete<S: Transport>(
        mut self,
        mut stream: S,
        turns: &AdmissionWait,
        mut answer: Vec<u8>,
        mut result: io::Result<()>,
    ) -> io::Result<Secured<S>> {
        loop {
            // The answer may be an alert, which is sent too.
            stream.send(&answer).await?;
            result?;
            if !self.tls.is_handshaking() {
                break;
            }
            stream.readable().await?;
            (answer, result) = turns.work(|| self.advance(&stream)).await;
        }
        self.once.secured(stream, self.tls)
    }

    /// Processes some of what has arrived. Returns what has to be sent, even if the handshake has
    /// failed.
    fn advance(&mut self, stream: &impl Transport) -> (Vec<u8>, io::Result<()>) {
        let result = self.take(stream);
        (self.unsent(), result)
    }

    fn unsent(&mut self) -> Vec<u8> {
        let mut unsent = Vec::new();
        while self.tls.wants_write() {
            // Writing to a vector cannot fail.
            let _ = self.tls.write_tls(&mut unsent);
        }
        unsent
    }

    fn take(&mut self, stream: &impl Transport) -> io::Result<()> {
        let mut wire = [0; FLIGHT];
        let mut rest = match stream.receive(&mut wire) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => &wire[..n],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        while !rest.is_empty() {
            if self.tls.read_tls(&mut rest)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// This end's certificate for one connection. The library keeps its configuration, and so this, as
/// long as the connection lasts; therefore the key can be taken out of it.
struct Once {
    der: CertificateDer<'static>,
    key: Mutex<Option<Arc<CertifiedKey>>>,
}

impl Once {
    fn new() -> Result<Arc<Self>, Error> {
        let key = certificate::throwaway()?;
        let der = key.end_entity_cert()?.clone().into_owned();
        Ok(Arc::new(Self {
            der,
            key: Mutex::new(Some(key)),
        }))
    }

    fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the handshake: forgets the key, and exports from the connection what binds to it.
    fn secured<S>(&self, stream: S, mut tls: Connection) -> io::Result<Secured<S>> {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let theirs = match tls.peer_certificates() {
            Some([one]) => Sha256::digest(one).into(),
            _ => return Err(io::Error::other(Error::NoCertificatesPresented)),
        };
        let ours = Sha256::digest(&self.der).into();
        let fingerprints = match tls {
            Connection::Client(_) => [ours, theirs],
            Connection::Server(_) => [theirs, ours],
        };
        let mut exported = Ok(());
        let exporter = Secret::fill_with(|bytes| {
            exported = tls
                .export_keying_material(bytes, kdf::EXPORTER, None)
                .map(|_| ());
        });
        exported.map_err(io::Error::other)?;
        tls.set_buffer_limit(None);
        Ok(Secured {
            stream,
            tls,
            channel: Channel {
                exporter,
                fingerprints,
            },
        })
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl ResolvesServerCert for Once {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key()
    }
}

impl ResolvesClientCert for Once {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts any certificate that sesame could make, and checks that the other end has its key.
#[derive(Debug)]
struct AnySesame {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnySesame {
    fn signed(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// The error for TLS 1.2, which sesame does not speak.
fn older() -> Error {
    Error::General("TLS 1.2 is not supported".into())
}

impl ServerCertVerifier for AnySesame {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        certificate::check(end_entity, intermediates, &self.algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(older())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, certificate, signature)
    }

    /// The library's whole list, so that this hello looks like any other program's.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for AnySesame {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        certificate::check(end_entity, intermediates, &self.algorithms)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(older())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::mesh::ConnId;
    use crate::net::admission_wait::AdmissionGate;
    use crate::net::report::Reporter;

    /// For a connection that is processed without waiting.
    fn free() -> AdmissionWait {
        AdmissionWait::new(
            ConnId(0),
            Arc::new(AdmissionGate::open()),
            Reporter::to_nobody(),
        )
    }

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialler = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (dialler, listener.accept().await.unwrap().0)
    }

    async fn pair(tls: &Tls) -> (Secured, Secured) {
        let (dialler, listener) = sockets().await;
        let turns = free();
        let (dialler, listener) = tokio::join!(tls.dial(dialler), tls.accept(listener, &turns));
        (dialler.unwrap(), listener.unwrap())
    }

    /// Whether our listener accepts a client that is configured like this.
    async fn listener_takes(client: ClientConfig) -> bool {
        let (dialler, listener) = sockets().await;
        let connector = TlsConnector::from(Arc::new(client));
        let name = ServerName::try_from(NOBODY).unwrap();
        let (tls, turns) = (Tls::new(), free());
        let accept = tls.accept(listener, &turns);
        let (_, accepted) = tokio::join!(connector.connect(name, dialler), accept);
        accepted.is_ok()
    }

    /// Whether our dialler accepts a listener that shows this certificate.
    async fn dialler_takes(key: Arc<CertifiedKey>) -> bool {
        let tls = Tls::new();
        let (dialler, listener) = sockets().await;
        let der = key.cert[0].clone();
        let server = tls
            .server(Arc::new(Once {
                der,
                key: Mutex::new(Some(key)),
            }))
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (dialled, _) = tokio::join!(tls.dial(dialler), acceptor.accept(listener));
        dialled.is_ok()
    }

    fn usual() -> ClientConfig {
        Tls::new().client(Once::new().unwrap()).unwrap()
    }

    fn signed_with(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<CertifiedKey> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(der)
            .unwrap();
        Arc::new(CertifiedKey::new(vec![certificate.into()], key))
    }

    fn shows(key: Arc<CertifiedKey>) -> Arc<Once> {
        Arc::new(Once {
            der: key.cert[0].clone(),
            key: Mutex::new(Some(key)),
        })
    }

    #[tokio::test]
    async fn both_ends_agree_on_what_binds_them() {
        let (dialler, listener) = pair(&Tls::new()).await;
        assert_eq!(
            dialler.channel.exporter.expose(),
            listener.channel.exporter.expose()
        );
        assert_ne!(dialler.channel.exporter.expose(), &[0; 64]);
        assert_eq!(dialler.channel.fingerprints, listener.channel.fingerprints);
        let shown =
            |secured: &Secured| Sha256::digest(&secured.tls.peer_certificates().unwrap()[0]);
        assert_eq!(dialler.channel.fingerprints[0][..], shown(&listener)[..]);
        assert_eq!(dialler.channel.fingerprints[1][..], shown(&dialler)[..]);
    }

    #[tokio::test]
    async fn no_two_connections_have_a_certificate_in_common() {
        let tls = Tls::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10 {
            seen.extend(pair(&tls).await.0.channel.fingerprints);
        }
        assert_eq!(seen.len(), 20);
    }

    #[tokio::test]
    async fn the_parameters_are_the_ones_of_the_protocol() {
        let (dialler, listener) = pair(&Tls::new()).await;
        for tls in [&dialler.tls, &listener.tls] {
            assert_eq!(
                tls.protocol_version(),
                Some(rustls::ProtocolVersion::TLSv1_3)
            );
            let group = tls.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
            let suite = tls.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(suite, rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
            assert_eq!(tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(tls.alpn_protocol(), None);
            assert!(!tls.wants_write());
        }
        let Connection::Server(listener) = listener.tls else {
            panic!("a listener is a server")
        };
        assert_eq!(listener.server_name(), None);
    }

    #[tokio::test]
    async fn nothing_follows_the_handshake_and_the_key_is_gone() {
        let (dialler, listener) = sockets().await;
        let once = Once::new().unwrap();
        let tls = Tls::new();
        let turns = free();
        let accept = async {
            let same = || Ok(Arc::clone(&once));
            tls.serve(listener, &turns, same).await.unwrap()
        };
        let (mut dialler, listener) = {
            let (dialler, listener) = tokio::join!(tls.dial(dialler), accept);
            (dialler.unwrap(), listener)
        };
        assert!(once.key().is_none());
        drop(listener);
        assert_eq!(
            dialler.stream.read(&mut [0; 64]).await.unwrap(),
            0,
            "no ticket, no close_notify"
        );
    }

    #[tokio::test]
    async fn client_like_ours_is_accepted() {
        assert!(listener_takes(usual()).await);
        assert!(
            listener_takes(
                Tls::new()
                    .client(shows(signed_with(&rcgen::PKCS_ED25519)))
                    .unwrap()
            )
            .await
        );
    }

    #[tokio::test]
    async fn client_that_offers_more_is_accepted() {
        let mut tls = Tls::new();
        let mut provider = (*tls.provider).clone();
        provider.kx_groups.push(aws_lc_rs::kx_group::X25519);
        let suites = &mut provider.cipher_suites;
        suites.insert(0, aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256);
        tls.provider = Arc::new(provider);
        assert!(listener_takes(tls.client(Once::new().unwrap()).unwrap()).await);
    }

    #[tokio::test]
    async fn a_client_without_the_hybrid_key_exchange_is_refused() {
        let mut tls = Tls::new();
        let mut provider = (*tls.provider).clone();
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        tls.provider = Arc::new(provider);
        assert!(!listener_takes(tls.client(Once::new().unwrap()).unwrap()).await);
    }

    #[tokio::test]
    async fn a_client_without_the_cipher_is_refused() {
        let mut tls = Tls::new();
        let mut provider = (*tls.provider).clone();
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        tls.provider = Arc::new(provider);
        assert!(!listener_takes(tls.client(Once::new().unwrap()).unwrap()).await);
    }

    #[tokio::test]
    async fn a_client_without_a_certificate_is_refused() {
        let tls = Tls::new();
        let config = ClientConfig::builder_with_provider(Arc::clone(&tls.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&tls.verifier) as _)
            .with_no_client_auth();
        assert!(!listener_takes(config).await);
    }

    #[tokio::test]
    async fn a_client_with_a_key_that_is_not_ed25519_is_refused() {
        let other = shows(signed_with(&rcgen::PKCS_ECDSA_P256_SHA256));
        assert!(!listener_takes(Tls::new().client(other).unwrap()).await);
    }

    #[tokio::test]
    async fn a_certificate_without_its_key_is_worth_nothing() {
        let (one, other) = (
            certificate::throwaway().unwrap(),
            certificate::throwaway().unwrap(),
        );
        let stolen = || Arc::new(CertifiedKey::new(one.cert.clone(), Arc::clone(&other.key)));
        assert!(!listener_takes(Tls::new().client(shows(stolen())).unwrap()).await);
        assert!(!dialler_takes(stolen()).await);
        assert!(dialler_takes(one).await);
    }

    #[tokio::test]
    async fn a_listener_with_a_key_that_is_not_ed25519_is_refused() {
        assert!(!dialler_takes(signed_with(&rcgen::PKCS_ECDSA_P256_SHA256)).await);
    }

    #[tokio::test]
    async fn other_version_than_tls_1_3_is_refused() {
        // A hello of TLS 1.2: version, random, no session, one suite, no compression, and the
        // extensions for groups (X25519) and signatures (Ed25519).
        let extensions = [0, 10, 0, 4, 0, 2, 0, 0x1d, 0, 13, 0, 4, 0, 2, 8, 7];
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0xcc, 0xa9, 1, 0, 0, extensions.len() as u8]);
        hello.extend(extensions);
        let mut record = vec![
            22,
            3,
            1,
            0,
            hello.len() as u8 + 4,
            1,
            0,
            0,
            hello.len() as u8,
        ];
        record.extend(hello);
        for bytes in [&record[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 200]] {
            let (mut dialler, listener) = sockets().await;
            dialler.write_all(bytes).await.unwrap();
            assert!(Tls::new().accept(listener, &free()).await.is_err());
        }
    }
}
