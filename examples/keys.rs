//! Issues, lists, rotates and revokes API keys in a database, for gateways that let in by it.
//!
//! ```text
//! export KEY_PEPPER=$(openssl rand -hex 32)    # keep it: without it all keys are worth nothing
//! export DATABASE_URL=sqlite:keys.db           # or postgres://…, or file:keys.json
//!
//! cargo run --features sqlite --example keys issue --owner alice --scope chat --limit per-minute=600 --for 90d
//! cargo run --features sqlite --example keys list
//! cargo run --features sqlite --example keys rotate 5kBvYqLW --overlap 24h
//! cargo run --features sqlite --example keys revoke 5kBvYqLW
//! ```
//!
//! A key goes to standard output, alone on its line, and all else to standard error.

use std::{
    env,
    error::Error,
    fmt,
    process::ExitCode,
    time::{Duration, SystemTime},
};
use tower_gateway::{
    auth::stored::{Grant, KeyFilter, KeyStore, Keyring, Pepper, Standing, StoredKey},
    principal::Limit,
    store,
};

const USAGE: &str = "\
keys issue --owner NAME [--name TEXT] [--team NAME] [--tenant NAME] [--scope NAME]…
           [--model NAME]… [--route TEMPLATE]… [--limit per-second|per-minute|per-hour|per-day=UNITS]…
           [--from TIME] [--for TIME] [--prefix PREFIX] [--count NUMBER]
keys list [--owner NAME] [--team NAME] [--tenant NAME]
keys rotate ID… [--overlap TIME] [--prefix PREFIX]
keys revoke ID…

A TIME is a number with s, m, h or d. The environment has:
  DATABASE_URL        sqlite:keys.db (the default), postgres://…, or file:keys.json
  KEY_PEPPER          a secret of 32 characters or more, such as `openssl rand -hex 32` prints
  KEY_PEPPER_VERSION  its number (1)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let done = match words.next().as_deref() {
        Some("issue") => issue(Options::read(words)).await,
        Some("list") => list(Options::read(words)).await,
        Some("rotate") => rotate(Options::read(words)).await,
        Some("revoke") => revoke(Options::read(words)).await,
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(usage(format!("there is no command {other:?}"))),
        None => Err(usage("what shall be done?")),
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Some tell of their source themselves.
        let more = error.to_string();
        if !told.contains(&more) {
            told = format!("{told}: {more}");
        }
        source = error.source();
    }
    eprintln!("error: {told}");
    if error.is::<Usage>() {
        eprintln!("\n{USAGE}");
        return ExitCode::from(2);
    }
    ExitCode::FAILURE
}

type Failed = Box<dyn Error>;

/// What was asked for cannot be understood.
#[derive(Debug)]
struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

fn usage(message: impl Into<String>) -> Failed {
    Box::new(Usage(message.into()))
}

/// `--name value` in any order, and the words that stand alone.
struct Options {
    named: Vec<(String, String)>,
    words: Vec<String>,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, Failed> {
        let (mut named, mut words) = (Vec::new(), Vec::new());
        while let Some(arg) = args.next() {
            match arg.strip_prefix("--") {
                Some(name) => {
                    let value = args.next();
                    let value = value.ok_or_else(|| usage(format!("--{name} has no value")))?;
                    named.push((name.to_owned(), value));
                }
                None => words.push(arg),
            }
        }
        Ok(Self { named, words })
    }

    fn all(&mut self, name: &str) -> Vec<String> {
        let taken = self.named.extract_if(.., |(other, _)| other == name);
        taken.map(|(_, value)| value).collect()
    }

    fn one(&mut self, name: &str) -> Result<Option<String>, Failed> {
        let mut all = self.all(name);
        match (all.pop(), all.is_empty()) {
            (value, true) => Ok(value),
            _ => Err(usage(format!("--{name} is there twice"))),
        }
    }

    fn time(&mut self, name: &str) -> Result<Option<Duration>, Failed> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        let wrong = || usage(format!("--{name} is not a time such as 90d: {text:?}"));
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 60 * 60,
            Some('d') => 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let number = text[..text.len() - 1].parse::<u32>().map_err(|_| wrong())?;
        Ok(Some(Duration::from_secs(unit * u64::from(number))))
    }

    /// Nothing must be left over, for it would have meant something.
    fn end(&self) -> Result<(), Failed> {
        match (self.named.first(), self.words.first()) {
            (Some((name, _)), _) => Err(usage(format!("there is no --{name} here"))),
            (None, Some(word)) => Err(usage(format!("{word:?} does not belong here"))),
            (None, None) => Ok(()),
        }
    }
}

async fn open() -> Result<std::sync::Arc<dyn KeyStore>, Failed> {
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite:keys.db".to_owned());
    Ok(store::keys(&url).await?)
}

fn pepper() -> Result<Pepper, Failed> {
    let missing = "KEY_PEPPER is not set: keep what `openssl rand -hex 32` prints, and set it so";
    let secret = env::var("KEY_PEPPER").map_err(|_| missing)?;
    let version = match env::var("KEY_PEPPER_VERSION") {
        Ok(version) => version
            .parse()
            .map_err(|_| "KEY_PEPPER_VERSION is not a number")?,
        Err(_) => 1,
    };
    Ok(Pepper::new(version, secret).map_err(|error| format!("KEY_PEPPER: {error}"))?)
}

async fn issue(options: Result<Options, Failed>) -> Result<(), Failed> {
    let mut options = options?;
    let owner = options.one("owner")?;
    let mut grant = Grant::new(owner.ok_or_else(|| usage("--owner is missing"))?);
    grant.name = options.one("name")?.map(Into::into);
    grant.team = options.one("team")?.map(Into::into);
    grant.tenant = options.one("tenant")?.map(Into::into);
    grant = grant.scopes(options.all("scope"));
    for model in options.all("model") {
        grant = grant.models([model]);
    }
    for route in options.all("route") {
        grant = grant.routes([route]);
    }
    for text in options.all("limit") {
        grant = grant.limit(limit(&text)?);
    }
    let now = SystemTime::now();
    grant.not_before = options.time("from")?.map(|from| now + from);
    grant.expires_at = options.time("for")?.map(|time| now + time);
    let prefix = options.one("prefix")?.unwrap_or_else(|| "tgw".to_owned());
    let count = options.one("count")?.unwrap_or_else(|| "1".to_owned());
    let count: u32 = count
        .parse()
        .map_err(|_| usage("--count is not a number"))?;
    options.end()?;

    let keyring = Keyring::new(open().await?, pepper()?).prefix(prefix);
    for _ in 0..count {
        let (key, secret) = keyring.issue(grant.clone()).await?;
        println!("{}", secret.expose());
        if count == 1 {
            eprintln!("This key is shown this once. Its id is {}.", key.id());
        }
    }
    Ok(())
}

fn limit(text: &str) -> Result<Limit, Failed> {
    let wrong = || {
        usage(format!(
            "--limit is not one such as per-minute=600: {text:?}"
        ))
    };
    let (name, units) = text.split_once('=').ok_or_else(wrong)?;
    let seconds = match name {
        "per-second" => 1,
        "per-minute" => 60,
        "per-hour" => 60 * 60,
        "per-day" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let units = units.parse().map_err(|_| wrong())?;
    Ok(Limit::new(name, units, Duration::from_secs(seconds)))
}

async fn list(options: Result<Options, Failed>) -> Result<(), Failed> {
    let mut options = options?;
    let mut filter = KeyFilter::new();
    if let Some(owner) = options.one("owner")? {
        filter = filter.owner(owner);
    }
    if let Some(team) = options.one("team")? {
        filter = filter.team(team);
    }
    if let Some(tenant) = options.one("tenant")? {
        filter = filter.tenant(tenant);
    }
    options.end()?;

    let store = open().await?;
    eprintln!(
        "{:10} {:16} {:12} {:12} {:9} {:20} {:20} {:20} {:10} NAME",
        "ID", "OWNER", "TEAM", "TENANT", "STATE", "CREATED", "ENDS", "LAST USED", "REPLACED"
    );
    loop {
        let page = store.list(&filter).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        for key in &page {
            println!("{}", line(key));
        }
        filter = filter.after(last.id().clone());
    }
}

fn line(key: &StoredKey) -> String {
    let grant = key.grant();
    let state = match key.standing(SystemTime::now()) {
        Standing::Good if key.replaced_by().is_some() => "replaced",
        Standing::Good => "good",
        Standing::Early => "early",
        Standing::Expired => "expired",
        Standing::Revoked => "revoked",
        _ => "unknown",
    };
    let or_none = |name: &Option<std::sync::Arc<str>>| name.as_deref().unwrap_or("-").to_owned();
    let time = |time: Option<SystemTime>| time.map_or("-".to_owned(), date);
    format!(
        "{:10} {:16} {:12} {:12} {:9} {:20} {:20} {:20} {:10} {}",
        key.id(),
        grant.owner,
        or_none(&grant.team),
        or_none(&grant.tenant),
        state,
        date(key.created_at()),
        time(key.revoked_at().or(grant.expires_at)),
        time(key.last_used_at()),
        key.replaced_by().map_or("-", |id| id),
        or_none(&grant.name),
    )
}

/// In UTC, as RFC 3339 has it. By Howard Hinnant's `civil_from_days`.
fn date(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

async fn rotate(options: Result<Options, Failed>) -> Result<(), Failed> {
    let mut options = options?;
    let overlap = options
        .time("overlap")?
        .unwrap_or(Duration::from_secs(24 * 60 * 60));
    let prefix = options.one("prefix")?.unwrap_or_else(|| "tgw".to_owned());
    let ids = std::mem::take(&mut options.words);
    options.end()?;
    if ids.is_empty() {
        return Err(usage("which keys? Give their ids"));
    }

    let keyring = Keyring::new(open().await?, pepper()?).prefix(prefix);
    for id in ids {
        let rotated = keyring.rotate(&id, overlap).await?;
        let over = || format!("there is no key {id:?}, or it is over, revoked or replaced already");
        let (key, secret) = rotated.ok_or_else(over)?;
        println!("{}", secret.expose());
        eprintln!("This key is shown this once. Its id is {}.", key.id());
    }
    Ok(())
}

async fn revoke(options: Result<Options, Failed>) -> Result<(), Failed> {
    let mut options = options?;
    let ids = std::mem::take(&mut options.words);
    options.end()?;
    if ids.is_empty() {
        return Err(usage("which keys? Give their ids"));
    }
    let store = open().await?;
    for id in ids {
        if !store.revoke(&id, SystemTime::now()).await? {
            return Err(format!("there is no key {id:?}").into());
        }
        println!("{id}");
    }
    Ok(())
}
