//! Endpoints in a file.

use crate::{
    BoxError,
    balance::{Endpoint, LONGEST},
};
use futures_core::Stream;
use std::{
    collections::BTreeSet,
    error::Error,
    fmt, fs,
    io::{self, Read},
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// The most that is read of a file.
const MOST: u64 = 1 << 20;

type Parse = Box<dyn Fn(&str) -> Result<Vec<Endpoint>, BoxError> + Send>;

/// Endpoints in a file, one a line: its name, and if they are not 1 and 0, `weight=…` and `priority=…`.
/// What follows a `#` is left out.
///
/// Whether the file changed is known by its time and its length, every 5 seconds; one that could not be
/// read is read again, changed or not. It is read at once and as a whole, at most a mebibyte: write another
/// one beside it and rename it, so that no half is read.
pub struct File {
    path: PathBuf,
    interval: Duration,
    parse: Parse,
    timer: Pin<Box<Sleep>>,
    /// As it was last looked at.
    look: Option<Look>,
    /// Whether it could be read then.
    good: bool,
    /// As it was last good.
    last: Option<Vec<Endpoint>>,
}

/// What a file looks like from outside.
type Look = Result<(SystemTime, u64), io::ErrorKind>;

impl File {
    /// The endpoints in this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            interval: Duration::from_secs(5),
            parse: Box::new(|text| Ok(parse(text)?)),
            timer: Box::pin(sleep_until(Instant::now())),
            look: None,
            good: true,
            last: None,
        }
    }

    /// Sets how often the file is looked at. At least ten milliseconds.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        let interval = interval.clamp(Duration::from_millis(10), LONGEST);
        Self { interval, ..self }
    }

    /// Sets how the file is read, if it is JSON or the like.
    #[must_use]
    pub fn parser(
        self,
        parse: impl Fn(&str) -> Result<Vec<Endpoint>, BoxError> + Send + 'static,
    ) -> Self {
        let parse = Box::new(parse);
        Self { parse, ..self }
    }

    fn read(&self) -> Result<Vec<Endpoint>, BoxError> {
        let mut text = String::new();
        let file = fs::File::open(&self.path)?;
        file.take(MOST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MOST {
            return Err("the file is larger than a mebibyte".into());
        }
        let endpoints = (self.parse)(&text)?;
        if endpoints.is_empty() {
            return Err("the file names no endpoint".into());
        }
        Ok(endpoints)
    }

    fn look(&self) -> Look {
        let file = fs::metadata(&self.path).map_err(|error| error.kind())?;
        let modified = file.modified().map_err(|error| error.kind())?;
        Ok((modified, file.len()))
    }

    /// What is new.
    fn news(&mut self) -> Option<Vec<Endpoint>> {
        let look = Some(self.look());
        let same = look == self.look;
        if same && self.good {
            return None;
        }
        // Looked at before it is read: what is written meanwhile is seen the next time.
        self.look = look;
        let read = self.read();
        self.good = read.is_ok();
        match read {
            Ok(endpoints) if self.last.as_ref() == Some(&endpoints) => None,
            Ok(endpoints) => {
                tracing::info!(path = %self.path.display(), count = endpoints.len(), "endpoints are read");
                self.last = Some(endpoints.clone());
                Some(endpoints)
            }
            Err(error) if same => {
                let path = self.path.display();
                tracing::debug!(%path, %error, "endpoints still cannot be read");
                None
            }
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "endpoints cannot be read: those that were read before stay");
                None
            }
        }
    }
}

impl Stream for File {
    type Item = Vec<Endpoint>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let next = Instant::now() + self.interval;
            self.timer.as_mut().reset(next);
            if let Some(news) = self.news() {
                return Poll::Ready(Some(news));
            }
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Reads endpoints out of lines, as [`File`] does.
///
/// # Errors
///
/// If a line says anything else, or names one that was named before.
pub fn parse(text: &str) -> Result<Vec<Endpoint>, InvalidLine> {
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for (at, line) in (1..).zip(text.lines()) {
        let invalid = |why| InvalidLine { line: at, why };
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        if name.contains('=') {
            return Err(invalid("there is no name"));
        }
        if !names.insert(name) {
            return Err(invalid("the name was there before"));
        }
        let mut endpoint = Endpoint::new(name);
        for word in words {
            endpoint = match word.split_once('=') {
                Some(("weight", weight)) => {
                    let weight = weight
                        .parse()
                        .map_err(|_| invalid("the weight is no number"))?;
                    endpoint.weight(weight)
                }
                Some(("priority", priority)) => match priority.parse() {
                    Ok(priority @ 0..=Endpoint::LAST) => endpoint.priority(priority),
                    _ => return Err(invalid("the priority is not from 0 to 15")),
                },
                _ => return Err(invalid("only `weight=` and `priority=` may follow a name")),
            };
        }
        all.push(endpoint);
    }
    Ok(all)
}

/// A line that names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLine {
    line: usize,
    why: &'static str,
}

impl fmt::Display for InvalidLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl Error for InvalidLine {}
