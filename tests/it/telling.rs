//! A protocol that is not HTTP, and a subscriber that remembers.

use http::{Extensions, HeaderMap};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tower_gateway::{
    End, Extensible, Follow, Reject, Rejection,
    describe::{Describe, Described, Status},
    principal::Carried,
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// A request that is not of HTTP.
#[derive(Debug, Default)]
pub(crate) struct Call(Carried);

/// An answer that is whole when it arrives.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) text: String,
    carried: Carried,
}

impl Reply {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

macro_rules! carries {
    ($carrier:ty, $field:tt) => {
        impl Extensible for $carrier {
            fn headers(&self) -> &HeaderMap {
                &self.$field.headers
            }
            fn headers_mut(&mut self) -> &mut HeaderMap {
                &mut self.$field.headers
            }
            fn extensions(&self) -> &Extensions {
                &self.$field.extensions
            }
            fn extensions_mut(&mut self) -> &mut Extensions {
                &mut self.$field.extensions
            }
        }
    };
}

carries!(Call, 0);
carries!(Reply, carried);

impl Describe for Call {
    fn describe(&self) -> Described<'_> {
        Described::new("call")
    }
}

/// Its error.
#[derive(Debug)]
pub(crate) enum Failed {
    Refused(Rejection),
    Broken,
}

impl Status<Failed> for Reply {
    fn code(answer: Result<&Self, &Failed>) -> Option<&'static str> {
        Some(match answer.err()? {
            Failed::Refused(rejection) => rejection.kind().code(),
            Failed::Broken => "broken",
        })
    }
}

impl Reject<Failed> for Reply {
    fn reject(rejection: Rejection) -> Result<Self, Failed> {
        Err(Failed::Refused(rejection))
    }
}

impl Follow<Failed> for Reply {
    type Followed = Self;

    fn follow(self, end: impl FnOnce(End<'_, Failed>) + Send + 'static) -> Self {
        end(End::Complete);
        self
    }

    fn cut(
        self,
        _: impl FnMut(&mut Context<'_>, bool) -> Poll<Rejection> + Send + 'static,
    ) -> Self {
        self
    }
}

/// Fields, as text.
pub(crate) type Fields = BTreeMap<&'static str, String>;

/// What was told to [`tracing`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// By id, less one. With how often it was entered, and how many handles are left.
    spans: Vec<(Fields, usize, usize)>,
    events: Vec<(&'static str, Fields)>,
}

impl Told {
    /// The fields of the events of a target.
    pub(crate) fn events(&self, target: &str) -> Vec<Fields> {
        let inner = self.0.lock().unwrap();
        let of = inner.events.iter().filter(|(of, _)| *of == target);
        of.map(|(_, fields)| fields.clone()).collect()
    }

    /// The fields of the spans that are closed.
    pub(crate) fn closed(&self) -> Vec<Fields> {
        let inner = self.0.lock().unwrap();
        let closed = inner.spans.iter().filter(|(_, _, handles)| *handles == 0);
        closed.map(|(fields, ..)| fields.clone()).collect()
    }

    /// How many spans are open, and how often they were entered in all.
    pub(crate) fn open(&self) -> (usize, usize) {
        let inner = self.0.lock().unwrap();
        let open = inner.spans.iter().filter(|(_, _, handles)| *handles > 0);
        let entered = inner.spans.iter().map(|(_, entered, _)| entered).sum();
        (open.count(), entered)
    }
}

struct Read<'a>(&'a mut Fields);

impl Visit for Read<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

fn index(id: &span::Id) -> usize {
    id.into_u64() as usize - 1
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_gateway")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut fields = Fields::new();
        attributes.record(&mut Read(&mut fields));
        let spans = &mut self.0.lock().unwrap().spans;
        spans.push((fields, 0, 1));
        span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Read(&mut self.0.lock().unwrap().spans[index(id)].0));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Read(&mut fields));
        let target = event.metadata().target();
        self.0.lock().unwrap().events.push((target, fields));
    }

    fn enter(&self, id: &span::Id) {
        self.0.lock().unwrap().spans[index(id)].1 += 1;
    }

    fn exit(&self, _: &span::Id) {}

    fn clone_span(&self, id: &span::Id) -> span::Id {
        self.0.lock().unwrap().spans[index(id)].2 += 1;
        id.clone()
    }

    fn try_close(&self, id: span::Id) -> bool {
        let handles = &mut self.0.lock().unwrap().spans[index(&id)].2;
        *handles -= 1;
        *handles == 0
    }
}
