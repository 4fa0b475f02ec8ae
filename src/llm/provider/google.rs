//! Vertex AI: the tokens of an account of Google's cloud, and where its models are.
//!
//! Two kinds of credentials are read, as they come from Google: the key file of a service account, which
//! signs an assertion (RFC 7523, RS256) and gets a token for it, and the file that `gcloud auth
//! application-default login` leaves, which has a refresh token in it. Tokens are kept until near their
//! end, see [`credential`](super::credential).

use super::{
    InvalidProvider, Provider, Token, Vendor,
    address::{Place, escaped, is_plain},
    splice::{Object, Splices},
    table,
};
use crate::{
    Body, BoxError, Rejection,
    client::Client,
    collect,
    llm::{ChatRequest, Operation, Protocol, codec::base64},
    rejection::Kind,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header::CONTENT_TYPE};
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign,
    pki_types::{PrivateKeyDer, pem::PemObject},
    sign::SigningKey,
};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    fmt, fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKENS: &str = "https://oauth2.googleapis.com/token";
const MOST_ANSWER: usize = 64 << 10;

/// Whose tokens.
pub(super) struct Account {
    tokens: Uri,
    shows: Shows,
}

/// What it shows for a token.
enum Shows {
    Assertion {
        email: String,
        key_id: String,
        key: Arc<dyn SigningKey>,
    },
    Refresh {
        client: String,
        secret: String,
        token: String,
    },
}

impl Account {
    /// Reads a file of credentials.
    pub(super) fn read(text: &str) -> Result<Self, InvalidProvider> {
        let wrong = |reason| Err(InvalidProvider::new(reason));
        let Ok(Value::Object(file)) = serde_json::from_str(text) else {
            return wrong("the credentials are no JSON object");
        };
        let field = |name: &str| file.get(name).and_then(Value::as_str);
        let tokens = field("token_uri").unwrap_or(TOKENS).parse::<Uri>();
        let Ok(tokens) = tokens.map_err(drop).and_then(|uri| {
            let complete = uri.scheme().is_some() && uri.authority().is_some();
            complete.then_some(uri).ok_or(())
        }) else {
            return wrong("the credentials have no good token_uri");
        };
        let shows = match field("type") {
            Some("service_account") => {
                let (Some(email), Some(pem)) = (field("client_email"), field("private_key")) else {
                    return wrong("the credentials have no client_email or no private_key");
                };
                let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok();
                let key = key.and_then(|key| sign::any_supported_type(&key).ok());
                let signs = |key: &Arc<dyn SigningKey>| {
                    key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
                        .is_some()
                };
                let Some(key) = key.filter(signs) else {
                    return wrong("the private_key of the credentials is not an RSA key in PEM");
                };
                Shows::Assertion {
                    email: email.to_owned(),
                    key_id: field("private_key_id").unwrap_or_default().to_owned(),
                    key,
                }
            }
            Some("authorized_user") => {
                let all = (
                    field("client_id"),
                    field("client_secret"),
                    field("refresh_token"),
                );
                let (Some(client), Some(secret), Some(token)) = all else {
                    return wrong("the credentials have no refresh_token, or no client");
                };
                Shows::Refresh {
                    client: client.to_owned(),
                    secret: secret.to_owned(),
                    token: token.to_owned(),
                }
            }
            _ => {
                return wrong(
                    "the credentials are neither of a service_account nor of an authorized_user",
                );
            }
        };
        Ok(Self { tokens, shows })
    }

    /// What is sent for a token, in the form of HTML.
    fn form(&self, now: SystemTime) -> Result<String, BoxError> {
        Ok(match &self.shows {
            Shows::Assertion { email, key_id, key } => {
                let assertion = self.assertion(email, key_id, &**key, now)?;
                format!("grant_type={}&assertion={assertion}", escaped(GRANT))
            }
            Shows::Refresh {
                client,
                secret,
                token,
            } => format!(
                "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
                escaped(client),
                escaped(secret),
                escaped(token)
            ),
        })
    }

    fn assertion(
        &self,
        email: &str,
        key_id: &str,
        key: &dyn SigningKey,
        now: SystemTime,
    ) -> Result<String, BoxError> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": key_id});
        let claims = json!({
            "iss": email,
            "scope": SCOPE,
            "aud": self.tokens.to_string(),
            "iat": now,
            "exp": now + 3600,
        });
        let signed = format!(
            "{}.{}",
            url_safe(head.to_string().as_bytes()),
            url_safe(claims.to_string().as_bytes())
        );
        let signer = key
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .ok_or("the key cannot sign so")?;
        let signature = signer.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", url_safe(&signature)))
    }

    /// Asks for a token. What the service says against it is logged as far as it is a code.
    async fn token(self: Arc<Self>, client: Client) -> Result<Token, BoxError> {
        let mut call = Request::new(Body::from(self.form(SystemTime::now())?));
        *call.method_mut() = Method::POST;
        *call.uri_mut() = self.tokens.clone();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        call.headers_mut().insert(CONTENT_TYPE, form);
        let (parts, body) = client.send(call).await?.into_parts();
        let body = collect(body, MOST_ANSWER)
            .await
            .map_err(|_| "the answer of the token service broke off, or is too large")?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !parts.status.is_success() {
            let code = answer.get("error").and_then(Value::as_str).unwrap_or("");
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            let code = Some(code).filter(|code| code.len() < 40 && code.bytes().all(plain));
            let status = parts.status.as_u16();
            let code = code.unwrap_or_default();
            return Err(format!("the token service answered {status} {code}").into());
        }
        let token = answer.get("access_token").and_then(Value::as_str);
        let token = Token::new(token.ok_or("the token service gave no access_token")?);
        let seconds = answer.get("expires_in").and_then(Value::as_u64);
        Ok(token.expires_in(Duration::from_secs(seconds.unwrap_or(3600))))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

fn url_safe(bytes: &[u8]) -> String {
    let text = base64::encode(bytes);
    text.trim_end_matches('=')
        .replace('+', "-")
        .replace('/', "_")
}

/// Where a location is reached.
fn host(location: &str) -> String {
    match location {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("https://aiplatform.{location}.rep.googleapis.com"),
        region => format!("https://{region}-aiplatform.googleapis.com"),
    }
}

/// A vendor of Vertex.
pub(super) fn provider(
    vendor: Vendor,
    project: &str,
    location: &str,
    credentials: &str,
) -> Result<Provider, InvalidProvider> {
    if !is_plain(project) {
        return Err(InvalidProvider::new(
            "the name of the project has characters that none has",
        ));
    }
    if !is_plain(location) || location.contains(['.', ':']) {
        return Err(InvalidProvider::new(
            "the location has characters that none has",
        ));
    }
    let account = Arc::new(Account::read(credentials)?);
    let client = Client::new();
    let place = Place::Project {
        project: project.into(),
        location: location.into(),
    };
    let provider = Provider::of(vendor).base_url(host(location))?;
    let provider = provider.set(|inner| inner.place = Some(place));
    Ok(provider.bearer(move || account.clone().token(client.clone())))
}

const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const PROJECT: &str = "GOOGLE_CLOUD_PROJECT";
const LOCATION: &str = "GOOGLE_CLOUD_LOCATION";
const REGION: &str = "CLOUD_ML_REGION";

/// The variables beside those of the row.
pub(super) const VARIABLES: [&str; 3] = [PROJECT, LOCATION, REGION];

/// As the environment says. Credentials alone say nothing: they may be there for another service.
pub(super) fn from_variables(
    vendor: Vendor,
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<Provider>, InvalidProvider> {
    let anthropic = vendor == table::VERTEX_ANTHROPIC;
    let (project_in, location_in) = match anthropic {
        true => (vendor.key_variable(), REGION),
        false => (PROJECT, LOCATION),
    };
    let (Some(project), file) = (variable(project_in), variable(FILE)) else {
        return Ok(None);
    };
    // Whoever names a project for models means them, and may have logged in on this machine.
    let left_by_login = || {
        let home = variable("HOME").filter(|_| anthropic)?;
        let path = format!("{home}/.config/gcloud/application_default_credentials.json");
        fs::exists(&path).ok()?.then_some(path)
    };
    let Some(file) = file.or_else(left_by_login) else {
        return match anthropic {
            true => Err(InvalidProvider::new("the file of credentials is missing").of(FILE)),
            false => Ok(None),
        };
    };
    let credentials = fs::read_to_string(file.trim())
        .map_err(|_| InvalidProvider::new("the file cannot be read").of(FILE))?;
    let location = variable(location_in).or_else(|| variable(LOCATION));
    let location = location.unwrap_or_else(|| "global".to_owned());
    let (project, location) = (project.trim(), location.trim());
    if !is_plain(project) {
        return Err(InvalidProvider::new("no name of a project").of(project_in));
    }
    if !is_plain(location) || location.contains(['.', ':']) {
        return Err(InvalidProvider::new("no name of a location").of(location_in));
    }
    let made = provider(vendor, project, location, &credentials);
    let mut made = made.map_err(|error| error.of(FILE))?;
    if let Some(url) = variable(vendor.url_variable()) {
        let named = |error: InvalidProvider| error.of(vendor.url_variable());
        made = made.base_url(url).map_err(named)?;
    }
    Ok(Some(made))
}

/// The path of a call below the version.
pub(super) fn path(
    parent: &str,
    protocol: Protocol,
    path: &str,
    request: &ChatRequest,
) -> Result<Cow<'static, str>, Rejection> {
    match protocol {
        Protocol::Gemini if path.contains(":batchEmbedContents") => {
            Err(Rejection::new(Kind::NotSupported)
                .with_detail("The provider makes one vector at a time, and only in its own words."))
        }
        Protocol::Gemini => Ok(format!("{parent}/publishers/google{path}").into()),
        Protocol::Anthropic => {
            let models = format!("{parent}/publishers/anthropic/models");
            let method = match request.streams() {
                true => "streamRawPredict",
                false => "rawPredict",
            };
            Ok(match request.operation() {
                Operation::CountTokens => format!("{models}/count-tokens:rawPredict"),
                _ => format!("{models}/{}:{method}", escaped(request.model())),
            }
            .into())
        }
        // Models of others, by its address for programs of OpenAI's protocol.
        _ => Ok(format!("{parent}/endpoints/openapi{path}").into()),
    }
}

/// A request of Anthropic's protocol: the model stands in the path, and the version in the body.
pub(super) fn edited(body: Bytes, operation: Operation) -> Bytes {
    let Some(mut request) = Object::read(&body, 0..body.len()) else {
        return body;
    };
    let mut splices = Splices::default();
    request.remove("anthropic_version");
    // Whoever counts tokens has no model in the path.
    if operation != Operation::CountTokens {
        request.remove("model");
    }
    let version = r#""anthropic_version":"vertex-2023-10-16""#;
    request.begin(version, &mut splices);
    request.close(&mut splices);
    let out = splices.applied(&body);
    out.unwrap_or(body)
}

#[cfg(test)]
mod tests;
