//! What a path means.

/// What stands below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'p> {
    All,
    Head(&'p str),
    Versions(&'p str),
    Version(&'p str, &'p str),
    Diff(&'p str),
    Label(&'p str, &'p str),
    History(&'p str),
    Preview(&'p str),
    Runs(&'p str),
    Results(&'p str),
    Scores(&'p str),
}

impl<'p> Place<'p> {
    pub(super) fn of(root: &str, path: &'p str) -> Option<Self> {
        let rest = path.strip_prefix(root)?;
        if rest.is_empty() || rest == "/" {
            return Some(Self::All);
        }
        let mut segments = rest.strip_prefix('/')?.split('/');
        let name = segments.next()?;
        let place = match (segments.next(), segments.next()) {
            (None, _) => Self::Head(name),
            (Some("versions"), None) => Self::Versions(name),
            (Some("versions"), Some(number)) => Self::Version(name, number),
            (Some("diff"), None) => Self::Diff(name),
            (Some("labels"), Some(label)) => Self::Label(name, label),
            (Some("history"), None) => Self::History(name),
            (Some("preview"), None) => Self::Preview(name),
            (Some("runs"), None) => Self::Runs(name),
            (Some("results"), None) => Self::Results(name),
            (Some("scores"), None) => Self::Scores(name),
            _ => return None,
        };
        segments.next().is_none().then_some(place)
    }

    /// The value of `Allow`.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Versions(_) => "GET, HEAD, OPTIONS, POST",
            Self::Label(..) => "OPTIONS, PUT",
            Self::Preview(_) | Self::Runs(_) | Self::Scores(_) => "OPTIONS, POST",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}
