//! A real issuer of OpenID Connect, `oidc-provider` from npm, where `$TOWER_GATEWAY_OIDC` is the folder in
//! which it is installed.

use super::{ask, base64url, serve, text};
use axum::{Router, routing::get};
use http::{Request, header};
use serde_json::Value;
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tower_gateway::{
    Body, Principal,
    auth::{
        AnyOf, AuthLayer, Place,
        introspection::Introspection,
        jwt::{Issuer, Jwks, Jwt},
    },
    client::Client,
};

/// The issuer, which ends with the test.
struct Running {
    child: Child,
    url: String,
    client: Client,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    async fn start(packages: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/oidc/issuer.mjs");
        let child = Command::new("node")
            .arg(script)
            .arg(address.port().to_string())
            .arg(packages)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node");
        let this = Self {
            child,
            url: format!("http://{address}"),
            client: Client::new(),
        };
        this.until_it_listens(address).await;
        this
    }

    async fn until_it_listens(&self, address: SocketAddr) {
        for _ in 0..300 {
            if TcpStream::connect(address).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the issuer does not listen");
    }

    async fn post(&self, path: &str, form: &str) -> Value {
        // As standard Base64 has it, for which the letters of this one are the same.
        let basic = format!("Basic {}=", base64url(b"gateway:its%20secret"));
        let request = Request::post(format!("{}{path}", self.url))
            .header(header::AUTHORIZATION, basic)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let answer = text(self.client.send(request).await.unwrap()).await;
        serde_json::from_str(&answer).unwrap_or(Value::String(answer))
    }

    /// A token: a JWT, or an opaque one.
    async fn token(&self, jwt: bool) -> String {
        let resource = if jwt { "&resource=urn:gateway" } else { "" };
        let form = format!("grant_type=client_credentials&scope=chat{resource}");
        let told = self.post("/token", &form).await;
        told["access_token"].as_str().expect("a token").to_owned()
    }

    fn jwt(&self) -> Jwt {
        let keys = Jwks::discover(&self.url).unwrap();
        // Keys are changed every second here, and the new one signs as soon as it is there.
        self.jwt_by(keys.cooldown(Duration::from_millis(300)))
    }

    fn jwt_by(&self, keys: Jwks) -> Jwt {
        let issuer = Issuer::new(&*self.url, keys)
            .audience("urn:gateway")
            .typ("at+jwt");
        Jwt::new([issuer]).unwrap()
    }

    /// What anyone can make: a token of a key that there is not.
    fn made_up(&self, kid: usize) -> String {
        let header = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"{kid}"}}"#);
        let claims = format!(
            r#"{{"iss":"{}","aud":"urn:gateway","sub":"admin","exp":4102444800}}"#,
            self.url
        );
        let [header, claims] = [header, claims].map(|part| base64url(part.as_bytes()));
        format!("{header}.{claims}.{}", base64url(&[7; 256]))
    }

    async fn gateway(&self, jwt: Jwt) -> String {
        let endpoint = format!("{}/token/introspection", self.url);
        let introspection = Introspection::new(endpoint, "gateway", "its secret")
            .unwrap()
            .issuer(&*self.url)
            .subject("client_id")
            .keep_for(Duration::from_millis(500));
        let layer = AuthLayer::new(AnyOf::new(jwt, introspection))
            .places([Place::bearer()])
            .require_scope("chat");
        let who = async |request: Request<axum::body::Body>| {
            Principal::of(&request).unwrap().id().to_string()
        };
        serve(Router::new().route("/", get(who)).layer(layer)).await
    }
}

async fn call(client: &Client, url: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let answer = ask(client, url, &[("authorization", bearer.as_bytes())]).await;
    let answer = answer.unwrap();
    let status = answer.status().as_u16();
    assert!(status != 200 || text(answer).await == "gateway");
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_issuer_changes_its_keys_is_asked_and_goes_down() {
    let Ok(packages) = std::env::var("TOWER_GATEWAY_OIDC") else {
        println!("oidc: skipped ($TOWER_GATEWAY_OIDC names no folder with oidc-provider)");
        return;
    };
    let issuer = Arc::new(Running::start(&packages).await);
    let jwt = issuer.jwt();
    let gateway = issuer.gateway(jwt.clone()).await;
    // One with nothing set, at which somebody sends names that are made up.
    let by_default = issuer.jwt_by(Jwks::discover(&issuer.url).unwrap());
    let stormed = issuer.gateway(by_default).await;
    let client = Client::new();

    // Keys change, in three kinds, while requests flow. A token is verified each time that it is new.
    let (calls, over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let callers = (0..4).map(|_| {
        let (issuer, gateway, client) = (issuer.clone(), gateway.clone(), client.clone());
        let (calls, over) = (calls.clone(), over.clone());
        tokio::spawn(async move {
            let mut refused = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let token = issuer.token(true).await;
                for _ in 0..5 {
                    calls.fetch_add(1, Ordering::Relaxed);
                    match call(&client, &gateway, &token).await {
                        200 => {}
                        status => refused.push(status),
                    }
                }
            }
            refused
        })
    });
    let callers: Vec<_> = callers.collect();
    let good = {
        let (issuer, stormed, client, over) = (
            issuer.clone(),
            stormed.clone(),
            client.clone(),
            over.clone(),
        );
        tokio::spawn(async move {
            let mut told = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let token = issuer.token(true).await;
                told.push(call(&client, &stormed, &token).await);
            }
            told
        })
    };
    let storm = {
        let (issuer, client) = (issuer.clone(), client.clone());
        tokio::spawn(async move {
            for kid in 0.. {
                let made_up = issuer.made_up(kid);
                let status = call(&client, &stormed, &made_up).await;
                assert!(matches!(status, 401 | 503), "{status}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    const KEYS: usize = 9;
    for _ in 1..KEYS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        issuer.post("/rotate", "").await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    over.store(true, Ordering::Relaxed);
    let mut refused = Vec::new();
    for caller in callers {
        refused.extend(caller.await.unwrap());
    }
    let told = good.await.unwrap();
    storm.abort();
    assert!(storm.await.unwrap_err().is_cancelled());
    let let_in = told.iter().filter(|status| **status == 200).count();
    println!("oidc: {let_in} of {} let in under a storm", told.len());
    assert!(let_in > 0);
    // Whose key is newer than the last fetch is told to come back, and never that its token is wrong.
    assert!(
        told.iter().all(|status| matches!(status, 200 | 503)),
        "{told:?}"
    );
    let calls = calls.load(Ordering::Relaxed);
    println!(
        "oidc: {calls} calls over {KEYS} keys, {} refused",
        refused.len()
    );
    assert_eq!(refused, [0_u16; 0]);

    // What can not be read is asked for, and revoked.
    let opaque = issuer.token(false).await;
    assert_eq!(call(&client, &gateway, &opaque).await, 200);
    assert_eq!(call(&client, &gateway, "nobody's").await, 401);
    issuer
        .post("/token/revocation", &format!("token={opaque}"))
        .await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(call(&client, &gateway, &opaque).await, 401);

    // Down: keys that are there go on, also for tokens that were not seen before.
    let (token, opaque) = (issuer.token(true).await, issuer.token(false).await);
    assert_eq!(call(&client, &gateway, &token).await, 200);
    let unseen = issuer.token(true).await;
    let never_loaded = issuer.gateway(issuer.jwt()).await;
    let mut issuer = Arc::into_inner(issuer).unwrap();
    issuer.child.kill().unwrap();
    issuer.child.wait().unwrap();
    assert_eq!(call(&client, &gateway, &token).await, 200);
    assert_eq!(call(&client, &gateway, &unseen).await, 200);
    assert_eq!(call(&client, &gateway, &opaque).await, 503);
    assert_eq!(call(&client, &never_loaded, &token).await, 503);
}
