//! What became of an entry.

/// What became of an entry in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answered,
    Failed,
    /// Could have been asked, and there was no need or no attempt left.
    Spare,
    Condition,
    Region,
    Kind,
    Tools,
    StructuredOutput,
    Ability,
    Modality,
    Window,
    Price,
    Drained,
    Cooling,
    CircuitOpen,
}

impl Verdict {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Spare => "spare",
            Self::Condition => "condition",
            Self::Region => "region",
            Self::Kind => "kind",
            Self::Tools => "tools",
            Self::StructuredOutput => "structured_output",
            Self::Ability => "ability",
            Self::Modality => "modality",
            Self::Window => "window",
            Self::Price => "price",
            Self::Drained => "drained",
            Self::Cooling => "cooling_down",
            Self::CircuitOpen => "circuit_open",
        }
    }
}
