//! Requests that are passed on as they are.

use crate::Body;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// What is asked in requests that are passed on as they are, and answered likewise: only vendors that
/// speak OpenAI's protocol have it, and this crate reads no more of it than the model's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Passthrough {
    /// Whether something offends.
    Moderations,
    /// Pictures, made from words.
    ImageGenerations,
    /// Pictures, changed.
    ImageEdits,
    /// Pictures like another.
    ImageVariations,
    /// Sound, made from words.
    Speech,
    /// Words, made from sound.
    Transcriptions,
    /// Words in English, made from sound.
    Translations,
}

impl Passthrough {
    /// All there are.
    pub(crate) const ALL: [Self; 7] = [
        Self::Moderations,
        Self::ImageGenerations,
        Self::ImageEdits,
        Self::ImageVariations,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
    ];

    /// Its path, below the version.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Moderations => "/moderations",
            Self::ImageGenerations => "/images/generations",
            Self::ImageEdits => "/images/edits",
            Self::ImageVariations => "/images/variations",
            Self::Speech => "/audio/speech",
            Self::Transcriptions => "/audio/transcriptions",
            Self::Translations => "/audio/translations",
        }
    }

    /// What it is called where operations are told apart.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Moderations => "moderations",
            Self::ImageGenerations => "image_generations",
            Self::ImageEdits => "image_edits",
            Self::ImageVariations => "image_variations",
            Self::Speech => "speech",
            Self::Transcriptions => "transcriptions",
            Self::Translations => "translations",
        }
    }

    /// The model that answers where none is named, as OpenAI's documentation has it in November 2026.
    /// `None`: one must be named.
    #[must_use]
    pub fn default_model(self) -> Option<&'static str> {
        match self {
            Self::Moderations => Some("omni-moderation-latest"),
            Self::ImageGenerations | Self::ImageEdits | Self::ImageVariations => Some("dall-e-2"),
            Self::Speech | Self::Transcriptions | Self::Translations => None,
        }
    }
}

/// A form with files, of which the beginning was read, and the rest comes while it is passed on.
#[derive(Clone)]
pub(crate) struct Upload {
    #[cfg_attr(not(feature = "client"), allow(dead_code))]
    pub(crate) boundary: Arc<str>,
    /// `None`: the beginning is all.
    rest: Option<Arc<Mutex<Option<Body>>>>,
}

impl Upload {
    pub(crate) fn new(boundary: &str, rest: Option<Body>) -> Self {
        Self {
            boundary: boundary.into(),
            rest: rest.map(|rest| Arc::new(Mutex::new(Some(rest)))),
        }
    }

    /// Whether the beginning is all.
    pub(crate) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Whether someone had what comes after the beginning: then it cannot be sent any more.
    pub(crate) fn is_gone(&self) -> bool {
        let gone = |rest: &Arc<Mutex<Option<Body>>>| {
            let rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
            rest.is_none()
        };
        self.rest.as_ref().is_some_and(gone)
    }

    /// What comes after the beginning. It can be had once: `Err` if someone had it.
    #[cfg_attr(not(feature = "client"), allow(dead_code))]
    pub(crate) fn take(&self) -> Result<Option<Body>, ()> {
        let Some(rest) = &self.rest else {
            return Ok(None);
        };
        let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.take().map(Some).ok_or(())
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}
