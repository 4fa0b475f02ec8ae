use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::ClientConfig;
use std::{env, process};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

/// Files of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("tower-gateway-tls-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str, serial: u64) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn revoke(&self, serial: u64) -> String {
        self.revoke_until(serial, 2126)
    }

    /// A list that is to be renewed at the beginning of this year.
    fn revoke_until(&self, serial: u64, year: i32) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn served(folder: &Folder, authority: &Authority, name: &str) -> Tls {
    let (certificate, key) = authority.sign(name, 1);
    Tls::files(
        folder.write(&format!("{name}.pem"), &certificate),
        folder.write(&format!("{name}.key"), &key),
    )
    .unwrap()
}

fn client(authority: &Authority, own: Option<&(String, String)>, protocol: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

/// What the server learns, and the certificate that the client is shown.
async fn shake(
    tls: &Tls,
    client: ClientConfig,
    name: &'static str,
) -> Result<(TlsInfo, Vec<u8>), String> {
    let (near, far) = duplex(1 << 16);
    let server = async {
        let (mut stream, info) = tls.accept(far).await.map_err(|error| error.to_string())?;
        stream
            .write_all(b"x")
            .await
            .map_err(|error| error.to_string())?;
        Ok::<_, String>((info, stream))
    };
    let client = async {
        let name = ServerName::try_from(name).unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let mut stream = connector
            .connect(name, near)
            .await
            .map_err(|error| error.to_string())?;
        // In TLS 1.3 a refusal comes after what the client takes for the end of the handshake.
        stream.read_u8().await.map_err(|error| error.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        Ok::<_, String>((shown, stream))
    };
    let (served, shown) = tokio::join!(server, client);
    Ok((served?.0, shown?.0))
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

#[tokio::test]
async fn what_was_agreed_on_is_told() {
    let (folder, authority) = (Folder::new("agreed"), Authority::new());
    let tls = served(&folder, &authority, "localhost");
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let (info, _) = shake(&tls, client(&authority, None, protocol), "localhost")
            .await
            .unwrap();
        assert_eq!(info.name(), Some("localhost"));
        assert_eq!(info.version(), Some("TLSv1.3"));
        assert_eq!(info.protocol(), Some(protocol));
        assert!(info.certificates().is_empty());
    }
    let error = shake(&tls, client(&authority, None, b"gopher"), "localhost").await;
    assert!(
        error.is_err(),
        "nothing of what the client speaks is spoken here"
    );
}

#[tokio::test]
async fn the_certificate_is_the_one_of_the_name_asked_for() {
    let (folder, authority) = (Folder::new("names"), Authority::new());
    let (other, key) = authority.sign("*.example.com", 2);
    let tls = served(&folder, &authority, "localhost")
        .and_files(folder.write("b.pem", &other), folder.write("b.key", &key))
        .unwrap();
    let shown = async |name| shake(&tls, client(&authority, None, b"h2"), name).await;
    let (_, certificate) = shown("a.example.com").await.unwrap();
    assert_eq!(certificate, der(&other));
    let (_, certificate) = shown("localhost").await.unwrap();
    assert_ne!(certificate, der(&other));
    assert!(
        shown("elsewhere.example.org").await.is_err(),
        "the first, which is not for it"
    );
}

#[tokio::test]
async fn a_client_needs_a_certificate_of_the_authorities() {
    let (folder, authority, stranger) = (Folder::new("mutual"), Authority::new(), Authority::new());
    let tls = served(&folder, &authority, "localhost");
    let tls = tls
        .client_authorities(folder.write("ca.pem", &authority.pem))
        .unwrap();
    let optional = tls.clone().optional_client_certificates().unwrap();
    let (own, forged) = (authority.sign("alice", 7), stranger.sign("alice", 7));
    let shaken =
        async |tls: &Tls, own| shake(tls, client(&authority, own, b"h2"), "localhost").await;

    for tls in [&tls, &optional] {
        let (info, _) = shaken(tls, Some(&own)).await.unwrap();
        assert_eq!(info.certificates(), [der(&own.0)]);
        assert!(shaken(tls, Some(&forged)).await.is_err());
    }
    assert!(shaken(&tls, None).await.is_err());
    let (info, _) = shaken(&optional, None).await.unwrap();
    assert!(info.certificates().is_empty());
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let (folder, authority) = (Folder::new("revoked"), Authority::new());
    let tls = served(&folder, &authority, "localhost")
        .client_authorities(folder.write("ca.pem", &authority.pem))
        .unwrap()
        .revocation_lists(folder.write("crl.pem", &authority.revoke(7)))
        .unwrap();
    let shaken = async |serial| {
        let own = authority.sign("alice", serial);
        shake(&tls, client(&authority, Some(&own), b"h2"), "localhost").await
    };
    assert!(shaken(7).await.is_err());
    assert!(shaken(8).await.is_ok());
    // Of an old list nobody knows whom it would name today.
    folder.write("crl.pem", &authority.revoke_until(7, 2021));
    tls.reload().unwrap();
    assert!(shaken(7).await.is_err());
    assert!(shaken(8).await.is_err());
}

#[test]
fn what_says_something_of_clients_says_it_where_they_are_asked() {
    let (folder, authority) = (Folder::new("unasked"), Authority::new());
    let tls = served(&folder, &authority, "localhost");
    let lists = folder.write("crl.pem", &authority.revoke(7));
    for unasked in [
        tls.clone().revocation_lists(&lists),
        tls.clone().optional_client_certificates(),
    ] {
        let told = unasked.unwrap_err().to_string();
        assert!(told.contains("authorities"), "{told}");
    }
}

#[test]
fn a_file_that_could_not_be_read_is_tried_again_and_one_that_is_wrong_is_not() {
    let (folder, authority) = (Folder::new("passing"), Authority::new());
    let tls = served(&folder, &authority, "localhost");
    let seen = |tls: &Tls| tls.current.read().unwrap().seen.clone();
    let good = seen(&tls);
    let path = folder.write("localhost.pem", "no certificate at all");
    tls.look();
    let wrong = seen(&tls);
    assert_ne!(wrong, good);
    assert_eq!(wrong, tls.files.look());
    // It is there, and cannot be read for now.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    tls.look();
    assert_eq!(seen(&tls), wrong, "it is not taken to be known");
    fs::remove_dir(&path).unwrap();
    let (certificate, key) = authority.sign("localhost", 1000);
    folder.write("localhost.pem", &certificate);
    folder.write("localhost.key", &key);
    tls.look();
    assert_eq!(seen(&tls), tls.files.look());
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_read_again_and_those_that_do_not_fit_are_not_used() {
    let (folder, authority) = (Folder::new("renewed"), Authority::new());
    let tls = served(&folder, &authority, "localhost");
    let watching = tokio::spawn(tls.clone().watch());
    let shown = async || {
        // Twice what it needs, for the blocking thread is not of the runtime's time.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let shaken = shake(&tls, client(&authority, None, b"h2"), "localhost").await;
        shaken.unwrap().1
    };
    let old = shown().await;
    let (certificate, key) = authority.sign("localhost", 1000);
    folder.write("localhost.pem", &certificate);
    assert_eq!(shown().await, old, "the key is still the other's");
    folder.write("localhost.key", &key);
    assert_eq!(shown().await, der(&certificate));
    fs::remove_file(folder.0.join("localhost.key")).unwrap();
    assert_eq!(
        shown().await,
        der(&certificate),
        "the last good one goes on"
    );
    watching.abort();
}

#[test]
fn an_error_names_the_file_and_nothing_of_what_is_in_it() {
    let (folder, authority) = (Folder::new("errors"), Authority::new());
    let (certificate, key) = authority.sign("localhost", 1);
    let (_, another) = authority.sign("localhost", 1);
    let certificate = folder.write("a.pem", &certificate);
    let secret = folder.write("a.key", &key);
    let broken = folder.write(
        "broken.pem",
        &key.replacen("PRIVATE KEY-----", "CERTIFICATE-----", 2),
    );
    let wrong = |certificates: &Path, key: &Path| {
        let error = Tls::files(certificates, key).map(drop).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&error.path().display().to_string()),
            "{text}"
        );
        assert!(!key_lines(&fs::read_to_string(&secret).unwrap()).any(|line| text.contains(line)));
        text
    };
    let missing = folder.0.join("missing.pem");
    assert!(wrong(&missing, &secret).contains("cannot be read"));
    assert!(wrong(&certificate, &missing).contains("cannot be read"));
    assert!(wrong(&secret, &secret).contains("no block of `CERTIFICATE`"));
    assert!(wrong(&certificate, &certificate).contains("no private key"));
    assert!(wrong(&broken, &secret).contains("cannot be used"));
    let another = folder.write("b.key", &another);
    assert!(wrong(&certificate, &another).contains("is not the key of"));
    let none = Tls::files(&certificate, &secret).unwrap();
    assert!(none.clone().client_authorities(&secret).is_err());
    assert!(
        none.client_authorities(&certificate)
            .unwrap()
            .revocation_lists(&secret)
            .is_err()
    );
}

fn key_lines(pem: &str) -> impl Iterator<Item = &str> {
    pem.lines().filter(|line| !line.starts_with("---"))
}
