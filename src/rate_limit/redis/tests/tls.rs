//! A server that speaks TLS, and asks for a name and a password.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::{env, fs, path::PathBuf, process};

/// Files of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    /// An authority, and a certificate of `localhost`.
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("tower-gateway-redis-{}-{name}", process::id()));
        fs::create_dir_all(&path).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes whose issuer has its own name for one that issued itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let own = own.signed_by(&key, &issuer).unwrap();
        for (name, text) in [
            ("ca.pem", authority),
            ("cert.pem", own.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn answers(store: &RedisStore) -> Result<(), StoreError> {
    let asked = store.take(take(&[Quota::per_day(9)], "a", 1));
    let asked = tokio::time::timeout(Duration::from_secs(10), asked).await;
    asked.expect("in time").map(drop)
}

#[tokio::test]
async fn over_tls_with_a_name_a_password_and_a_database() {
    let folder = Folder::new("password");
    let more = "--tls-auth-clients no --user limiter on >canary ~rate-limit:* +@all";
    let more: Vec<_> = more.split(' ').collect();
    let Some(server) = RedisServer::start_tls(&folder.0, &more) else {
        return;
    };
    let url = |user: &str| format!("rediss://{user}@localhost:{}/3", server.port());
    let trusting = |url: String| {
        RedisStore::new(url)
            .unwrap()
            .trust_pem(folder.read("ca.pem"))
    };
    let store = trusting(url("limiter:canary")).unwrap();
    answers(&store).await.unwrap();
    assert!(!format!("{store:?}").contains("canary"));

    let stranger = RedisStore::new(url("limiter:canary")).unwrap();
    let other = Folder::new("other");
    let misled = RedisStore::new(url("limiter:canary")).unwrap();
    for store in [
        trusting(url("limiter:canary-wrong")).unwrap(),
        trusting(url("canary:canary")).unwrap(),
        trusting(url("limiter:canary").replace("localhost", "127.0.0.1")).unwrap(),
        stranger,
        misled.trust_pem(other.read("ca.pem")).unwrap(),
        RedisStore::new(url("limiter:canary").replace("rediss", "redis")).unwrap(),
    ] {
        let error = answers(&store).await.unwrap_err();
        let mut shown = format!("{error} {error:?} {store:?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            shown.push_str(&format!(" {error} {error:?}"));
            cause = error.source();
        }
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[tokio::test]
async fn a_server_may_ask_for_a_certificate() {
    let folder = Folder::new("mutual");
    let Some(server) = RedisServer::start_tls(&folder.0, &["--tls-auth-clients", "yes"]) else {
        return;
    };
    let store = || {
        let store = RedisStore::new(format!("rediss://localhost:{}", server.port())).unwrap();
        store.trust_pem(folder.read("ca.pem")).unwrap()
    };
    assert!(answers(&store()).await.is_err());
    let known = store().identity_pem(folder.read("cert.pem"), folder.read("key.pem"));
    answers(&known.unwrap()).await.unwrap();
}
