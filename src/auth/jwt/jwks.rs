//! Where keys come from, and how they are kept.

use super::{
    algorithm::Algorithm,
    discovery::{self, Found},
    freshness::{Config, Freshness, Have, Unknown},
    jwk::{JwkSet, LARGEST},
};
use crate::{
    Body, BoxError, Rejection,
    auth::outward::{Caller, InvalidUrl, endpoint},
    rejection::Kind,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, time::Instant};
use tower_service::Service;

/// Where the keys of an issuer come from: a set in the program, a URL, a file, or wherever the issuer
/// says (OpenID Connect Discovery).
///
/// ```
/// use tower_gateway::auth::jwt::Jwks;
/// use std::time::Duration;
///
/// let keys = Jwks::url("https://issuer.example/jwks.json")?.max_stale(Duration::from_secs(3600));
/// assert!(Jwks::url("http://issuer.example/jwks.json").is_err());
/// # Ok::<_, tower_gateway::auth::jwt::InvalidUrl>(())
/// ```
///
/// See the [module docs](super#keys) for when they are fetched. Clones share what was fetched; every
/// setter starts afresh.
#[derive(Clone)]
pub struct Jwks {
    source: Source,
    config: Config,
    caller: Option<Caller>,
    shared: Arc<Shared>,
}

#[derive(Clone)]
enum Source {
    Fixed(Arc<Loaded>),
    Url(Uri),
    Discovered(Arc<str>),
    File(Arc<Path>),
}

/// Keys, and for which algorithms the issuer says that they are, if it does.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) keys: JwkSet,
    algorithms: Option<Vec<Algorithm>>,
}

impl Loaded {
    pub(super) fn permits(&self, algorithm: Algorithm) -> bool {
        let all = self.algorithms.as_ref();
        all.is_none_or(|all| all.contains(&algorithm))
    }
}

/// What has been fetched, and who is fetching.
struct Shared {
    state: Mutex<State>,
}

struct State {
    core: Freshness<Loaded>,
    flight: Option<Flight>,
    etag: Option<HeaderValue>,
    found: Option<Found>,
    /// Made when it is first needed.
    caller: Option<Caller>,
}

/// Over when its other end is dropped, whatever became of it.
#[derive(Clone)]
pub(super) struct Flight(watch::Receiver<()>);

impl Flight {
    pub(super) async fn landed(mut self) {
        while self.0.changed().await.is_ok() {}
    }

    fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

/// Keys to go by, or what to do instead.
pub(super) enum Answer<T> {
    Now(T),
    Wait(Flight),
    Down(Rejection),
}

impl From<JwkSet> for Jwks {
    fn from(keys: JwkSet) -> Self {
        let algorithms = None;
        Self::of(Source::Fixed(Arc::new(Loaded { keys, algorithms })))
    }
}

impl Jwks {
    /// Keys that are published at a URL, which is `https`, or `http` to this machine. Symmetric ones are
    /// left out.
    ///
    /// # Errors
    ///
    /// If it is another URL, or has a user or a fragment in it.
    pub fn url(url: impl AsRef<str>) -> Result<Self, InvalidUrl> {
        Ok(Self::of(Source::Url(endpoint(url.as_ref())?)))
    }

    /// Keys that are published where the issuer says: by OpenID Connect Discovery 1.0 §4, and else by RFC
    /// 8414 §3. What the issuer says there must name it exactly as it is named here.
    ///
    /// # Errors
    ///
    /// If its name is not such a URL as [`url`](Self::url) takes.
    pub fn discover(issuer: impl AsRef<str>) -> Result<Self, InvalidUrl> {
        let issuer = issuer.as_ref();
        discovery::documents(issuer)?;
        Ok(Self::of(Source::Discovered(issuer.into())))
    }

    /// Keys in a file, which is read again every minute, and for a name that is not known. Symmetric ones
    /// are taken.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let this = Self::of(Source::File(path.into().into()));
        this.set(|config| config.lifetime = Duration::from_secs(60))
    }

    fn of(source: Source) -> Self {
        let config = Config::default();
        Self {
            source,
            shared: Shared::new(&config),
            config,
            caller: None,
        }
    }

    /// Sets by what is fetched. By default by a [`Client`](crate::client::Client) of its own. It must not
    /// follow redirects.
    #[must_use]
    pub fn client<S>(mut self, client: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        self.caller = Some(Caller::new(client));
        self.set(|_| {})
    }

    /// Sets how long keys are fresh if their issuer does not say (`Cache-Control: max-age`). 10 minutes
    /// by default, a minute for a file. A minute at least and a day at the most, also where it does say.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.set(|config| config.lifetime = lifetime)
    }

    /// Sets for how long keys are used that could not be fetched again. A day by default, and at the
    /// most.
    #[must_use]
    pub fn max_stale(self, max_stale: Duration) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        self.set(|config| config.max_stale = max_stale.min(day))
    }

    /// Sets how often keys are fetched for names that are not known. Once in 10 seconds by default. Until
    /// then a token with such a name is answered with 503, for nobody can say that there is no such key.
    #[must_use]
    pub fn cooldown(self, cooldown: Duration) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        self.set(|config| config.cooldown = cooldown.min(day))
    }

    fn set(mut self, set: impl FnOnce(&mut Config)) -> Self {
        set(&mut self.config);
        self.shared = Shared::new(&self.config);
        self
    }

    /// Whether they are symmetric; what is fetched never is, and of a file nobody knows.
    pub(super) fn symmetric(&self) -> Option<bool> {
        match &self.source {
            Source::Fixed(loaded) => Some(loaded.keys.is_symmetric()),
            Source::Url(_) | Source::Discovered(_) => Some(false),
            Source::File(_) => None,
        }
    }

    /// The keys to go by.
    pub(super) fn keys(&self) -> Answer<Arc<Loaded>> {
        if let Source::Fixed(loaded) = &self.source {
            return Answer::Now(loaded.clone());
        }
        let mut state = self.shared.lock();
        match state.core.have(Instant::now()) {
            Have::Keys(keys) => Answer::Now(keys),
            Have::Aging(keys) => {
                let found = state.found.clone();
                let _ = self.fly(&mut state, found);
                Answer::Now(keys)
            }
            Have::Fetch => {
                let found = state.found.clone();
                self.fly(&mut state, found)
            }
            Have::Nothing(wait) => Answer::Down(unavailable(wait)),
        }
    }

    /// The keys, after they were waited for.
    pub(super) fn keys_after_flight(&self) -> Answer<Arc<Loaded>> {
        let state = self.shared.lock();
        let now = Instant::now();
        match state.core.usable(now) {
            Some(keys) => Answer::Now(keys.clone()),
            None => Answer::Down(unavailable(state.core.wait(now))),
        }
    }

    /// How often they were asked for, by which a call tells [later](Self::for_unknown) when it came.
    pub(super) fn asked(&self) -> u64 {
        self.shared.lock().core.asked()
    }

    /// What becomes of a call that came then, and whose key is not among them. `Now`: it has none. Whoever
    /// waits does so twice at the most: for what was under way, and for what is asked after it came.
    pub(super) fn for_unknown(&self, came: u64) -> Answer<()> {
        if let Source::Fixed(_) = self.source {
            return Answer::Now(());
        }
        let mut state = self.shared.lock();
        if let Some(flight) = state.flight() {
            return Answer::Wait(flight);
        }
        match state.core.unknown(came, Instant::now()) {
            // Whoever signs by a new key may say other things of itself, too.
            Unknown::Fetch => match self.fly(&mut state, None) {
                Answer::Now(_) => Answer::Now(()),
                Answer::Wait(flight) => Answer::Wait(flight),
                Answer::Down(rejection) => Answer::Down(rejection),
            },
            Unknown::Refuse => Answer::Now(()),
            Unknown::CannotTell(wait) => Answer::Down(unavailable(wait)),
        }
    }

    /// Fetches the keys, unless someone is at it. In a task of its own, so that no call that is dropped
    /// takes it along.
    fn fly(&self, state: &mut State, found: Option<Found>) -> Answer<Arc<Loaded>> {
        if let Some(flight) = state.flight() {
            return Answer::Wait(flight);
        }
        let Ok(runtime) = Handle::try_current() else {
            let source = "keys are fetched in a tokio runtime, and there is none";
            return Answer::Down(Rejection::new(Kind::Internal).with_source(source));
        };
        let (landing, flight) = watch::channel(());
        let this = self.clone();
        let (etag, nth) = (state.etag.clone(), state.core.ask());
        runtime.spawn(async move {
            this.fetch(etag, found, nth).await;
            drop(landing);
        });
        let flight = Flight(flight);
        state.flight = Some(flight.clone());
        Answer::Wait(flight)
    }

    async fn fetch(&self, etag: Option<HeaderValue>, mut found: Option<Found>, nth: u64) {
        // What the issuer said of itself before does not say what it says now.
        let by_hearsay = found.as_ref().is_some_and(Found::is_fresh);
        let whole = (!by_hearsay).then_some(nth);
        let fetched = match &self.source {
            Source::Fixed(_) => return,
            Source::File(path) => read(path.clone()).await,
            Source::Url(uri) => self.get(uri, etag, None).await,
            Source::Discovered(issuer) => self.discovered(issuer, etag, &mut found).await,
        };
        let mut state = self.shared.lock();
        let now = Instant::now();
        match fetched {
            Ok(Fetched {
                loaded,
                lifetime,
                etag,
            }) => {
                tracing::debug!(source = ?self.source, changed = loaded.is_some(), "keys fetched");
                if loaded.is_some() {
                    state.etag = etag;
                }
                state.found = found;
                let loaded = loaded.map(Arc::new);
                state.core.succeed(loaded, lifetime, whole, now);
            }
            Err(error) => {
                tracing::warn!(source = ?self.source, %error, "keys could not be fetched");
                state.found = None;
                state.core.fail(now);
            }
        }
    }

    async fn discovered(
        &self,
        issuer: &str,
        etag: Option<HeaderValue>,
        found: &mut Option<Found>,
    ) -> Result<Fetched, BoxError> {
        let caller = self.caller();
        let (current, etag) = match found.take() {
            Some(found) if found.is_fresh() => (found, etag),
            // Elsewhere the tag may stand for something else.
            _ => (discovery::discover(&caller, issuer).await?, None),
        };
        let current = found.insert(current);
        self.get(&current.jwks_uri, etag, current.algorithms.clone())
            .await
    }

    async fn get(
        &self,
        uri: &Uri,
        etag: Option<HeaderValue>,
        algorithms: Option<Vec<Algorithm>>,
    ) -> Result<Fetched, BoxError> {
        let mut request = Request::get(uri.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Body::empty())?;
        let conditional = etag.is_some();
        if let Some(etag) = etag {
            request.headers_mut().insert(header::IF_NONE_MATCH, etag);
        }
        let answer = self.caller().ask(request, LARGEST).await?;
        let lifetime = max_age(&answer.headers);
        let loaded = match answer.status {
            StatusCode::OK => Some(Loaded {
                keys: JwkSet::read(&answer.body, false)?,
                algorithms,
            }),
            StatusCode::NOT_MODIFIED if conditional => None,
            status => return Err(format!("the answer was {status}").into()),
        };
        let etag = answer.headers.get(header::ETAG).cloned();
        Ok(Fetched {
            loaded,
            lifetime,
            etag,
        })
    }

    fn caller(&self) -> Caller {
        let mut state = self.shared.lock();
        let made = state
            .caller
            .get_or_insert_with(|| self.caller.clone().unwrap_or_default());
        made.clone()
    }
}

struct Fetched {
    /// `None`: the same as before.
    loaded: Option<Loaded>,
    lifetime: Option<Duration>,
    etag: Option<HeaderValue>,
}

async fn read(path: Arc<Path>) -> Result<Fetched, BoxError> {
    let text = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        // One byte more shows that there are too many.
        let most = LARGEST as u64 + 1;
        std::fs::File::open(path)?
            .take(most)
            .read_to_end(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let keys = JwkSet::read(&text.await??, true)?;
    Ok(Fetched {
        loaded: Some(Loaded {
            keys,
            algorithms: None,
        }),
        lifetime: None,
        etag: None,
    })
}

/// How long an answer is fresh, RFC 9111 §5.2.2. Nothing less than a second is told apart.
pub(super) fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL);
    let directives = values.iter().filter_map(|value| value.to_str().ok());
    let directives = directives.flat_map(|value| value.split(','));
    let mut least = None;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let name = name.trim();
        let seconds = if name.eq_ignore_ascii_case("max-age") {
            value.trim().trim_matches('"').parse().ok()
        } else if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            Some(0)
        } else {
            None
        };
        if let Some(seconds) = seconds {
            least = Some(least.map_or(seconds, |least: u64| least.min(seconds)));
        }
    }
    least.map(Duration::from_secs)
}

fn unavailable(wait: Duration) -> Rejection {
    Rejection::new(Kind::AuthUnavailable).with_retry_after(wait.max(Duration::from_secs(1)))
}

impl Shared {
    fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                core: Freshness::new(config.clone()),
                flight: None,
                etag: None,
                found: None,
                caller: None,
            }),
        })
    }

    // The state is valid after every statement, whoever panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn flight(&mut self) -> Option<Flight> {
        self.flight.take_if(|flight| flight.is_over());
        self.flight.clone()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(_) => f.write_str("fixed"),
            // The query may hold what is nobody's business.
            Self::Url(uri) => write!(f, "{}{}", uri.host().unwrap_or_default(), uri.path()),
            Self::Discovered(issuer) => f.write_str(issuer),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks")
            .field("source", &self.source)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
