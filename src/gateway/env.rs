//! One convention for every program that is set up by its environment.
//!
//! | variable | what | default |
//! |---|---|---|
//! | `ADDR` | where to listen | `127.0.0.1:8080` |
//! | `GATEWAY_KEY` | the key that clients show: any 16 characters or more | one made for this run |
//! | `RATE_PER_MINUTE` | requests a minute and key | 600 |
//! | `ADMIN_ADDR` | where to serve `/metrics`; `off` for nowhere | `127.0.0.1:9464`, if it is free |
//!
//! The keys and base URLs of vendors stand in the variables that their own SDKs read: see
//! [`Provider::from_env`](crate::llm::Provider::from_env). An empty variable counts as absent. A bad
//! value is an error that names the variable, and never shows the value.

use crate::rate_limit::Quota;
use std::{fmt, net::SocketAddr, num::NonZeroU32};

/// What the environment says.
pub struct Env {
    addr: SocketAddr,
    admin: Admin,
    key: String,
    key_is_made: bool,
    rate_per_minute: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admin {
    Off,
    /// Nobody asked: to be done without if the address is taken.
    Default,
    At(SocketAddr),
}

const DEFAULT_ADDR: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
const DEFAULT_RATE: NonZeroU32 = NonZeroU32::new(600).expect("more than zero");

impl Env {
    /// Reads the environment of the process.
    ///
    /// # Errors
    ///
    /// The first variable with a bad value, and what was expected of it.
    pub fn read() -> Result<Self, EnvError> {
        // What is not Unicode is no value that can be meant: it must not count as absent.
        Self::from(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Result<Self, EnvError> {
        let get = |name| get(name).filter(|value| !value.trim().is_empty());
        let address = "an address and a port, such as 127.0.0.1:8080";
        let addr = get("ADDR").map_or(Ok(DEFAULT_ADDR), |value| {
            value
                .trim()
                .parse()
                .map_err(|_| EnvError::new("ADDR", address))
        })?;
        let admin = match get("ADMIN_ADDR").as_deref().map(str::trim) {
            None => Admin::Default,
            Some("off") => Admin::Off,
            Some(value) => value.parse().map(Admin::At).map_err(|_| {
                EnvError::new(
                    "ADMIN_ADDR",
                    "an address and a port, such as 127.0.0.1:9464, or off",
                )
            })?,
        };
        let rate_per_minute = get("RATE_PER_MINUTE").map_or(Ok(DEFAULT_RATE), |value| {
            let error = EnvError::new("RATE_PER_MINUTE", "a whole number from 1 to 4294967295");
            value.trim().parse().map_err(|_| error)
        })?;
        let given = get("GATEWAY_KEY");
        let key_is_made = given.is_none();
        let key = match given {
            Some(key) if key.len() < 16 || key.chars().any(|char| !char.is_ascii_graphic()) => {
                return Err(EnvError::new(
                    "GATEWAY_KEY",
                    "16 characters or more, printable ASCII without spaces",
                ));
            }
            Some(key) => key,
            None => made_key()?,
        };
        Ok(Self {
            addr,
            admin,
            key,
            key_is_made,
            rate_per_minute,
        })
    }

    /// Where to listen.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The key that clients show. A secret.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the key was made for this run, so that it must be shown to whoever started it.
    #[must_use]
    pub fn key_is_made(&self) -> bool {
        self.key_is_made
    }

    /// How often each key may call.
    #[must_use]
    pub fn quota(&self) -> Quota {
        Quota::per_minute(self.rate_per_minute.get().into())
    }

    /// Binds the admin listener of a server, if one is wanted. The default address is done without if
    /// it is taken; one that was asked for is not.
    ///
    /// # Errors
    ///
    /// If an address that was asked for cannot be bound.
    pub fn admin(&self, server: super::Server) -> std::io::Result<super::Server> {
        match self.admin {
            Admin::Off => Ok(server),
            Admin::At(addr) => server.admin(addr),
            Admin::Default => Ok(server.admin_if_free(DEFAULT_ADMIN)),
        }
    }
}

fn made_key() -> Result<String, EnvError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| {
        EnvError::new(
            "GATEWAY_KEY",
            "16 characters or more: the system has no random numbers to make one of",
        )
    })?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("gw-{digits}"))
}

/// The key is not shown.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("addr", &self.addr)
            .field("admin", &self.admin)
            .field("rate_per_minute", &self.rate_per_minute)
            .finish_non_exhaustive()
    }
}

/// A variable with a bad value.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvError {
    variable: &'static str,
    expected: &'static str,
}

impl EnvError {
    pub(crate) fn new(variable: &'static str, expected: &'static str) -> Self {
        Self { variable, expected }
    }

    /// Which variable.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.variable
    }
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the environment variable {}: expected {}",
            self.variable, self.expected
        )
    }
}

/// As a person reads it: this is what a `main` that returns it prints.
impl fmt::Debug for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for EnvError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Result<Env, EnvError> {
        Env::from(|name| {
            let found = vars.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        })
    }

    #[test]
    fn an_empty_environment_has_defaults_and_a_key_of_its_own() {
        let (one, two) = (env(&[]).unwrap(), env(&[("ADDR", " ")]).unwrap());
        assert_eq!((one.addr(), one.admin), (DEFAULT_ADDR, Admin::Default));
        assert!(one.key_is_made() && one.key().len() >= 16 && one.key() != two.key());
    }

    #[test]
    fn a_bad_value_names_its_variable_and_is_not_shown() {
        for (name, value) in [
            ("ADDR", "localhost"),
            ("ADMIN_ADDR", "9464"),
            ("RATE_PER_MINUTE", "0"),
            ("RATE_PER_MINUTE", "many"),
            ("GATEWAY_KEY", "short-canary"),
            ("GATEWAY_KEY", "canary canary canary"),
        ] {
            let error = env(&[(name, value)]).unwrap_err();
            assert_eq!(error.variable(), name);
            assert!(!error.to_string().contains("canary") && error.to_string().contains(name));
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let env = env(&[("GATEWAY_KEY", "canary-canary-canary")]).unwrap();
        assert!(!format!("{env:?}").contains("canary"));
    }
}
