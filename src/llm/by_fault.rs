//! When another model is asked.

use super::{ChatResponse, Error, VendorFault};
use crate::{
    Health,
    answer::{Remedy, When},
    rejection::Kind,
};

/// Asks another model also where it is *this* vendor or model that cannot do what was asked: the
/// conversation is longer than its context window, the request larger than it takes, it does not know the
/// model, or cannot do, or not say, all of it. Another may.
///
/// A bad request stands, and so does what a content filter held back, unless it is
/// [asked](Self::bad_requests) [otherwise](Self::content_filters). All else is as the answers
/// [say of themselves](Health::remedy).
///
/// ```
/// use tower::ServiceExt;
/// use tower_gateway::{fallback::Fallback, llm::{ByFault, ChatRequest, Simulator, VendorFault}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_gateway::llm::Error> {
/// let small = Simulator::new().faults(u64::MAX, VendorFault::ContextLength);
/// let models = Fallback::new(small).or(Simulator::new().answer("Yes")).when(ByFault::new());
/// let answer = models.oneshot(ChatRequest::new().user("Have you read it all?")).await?;
/// assert_eq!(answer.text().await?, "Yes");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ByFault {
    bad_requests: bool,
    content_filters: bool,
}

impl ByFault {
    /// Bad requests and content filters stand.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks another model also after a request that a vendor found fault with.
    #[must_use]
    pub fn bad_requests(mut self) -> Self {
        self.bad_requests = true;
        self
    }

    /// Asks another model also after a vendor's content filter held the request back.
    #[must_use]
    pub fn content_filters(mut self) -> Self {
        self.content_filters = true;
        self
    }

    fn mends(self, error: &Error) -> bool {
        let fault = match error {
            Error::Vendor(error) => error.fault(),
            // Before it was sent: a vendor's protocol that cannot say it.
            Error::Rejected(rejection) => {
                return matches!(
                    rejection.kind(),
                    Kind::UnsupportedParameter | Kind::NotSupported
                );
            }
        };
        match fault {
            VendorFault::ContextLength
            | VendorFault::TooLarge
            | VendorFault::UnknownModel
            | VendorFault::NotSupported => true,
            VendorFault::InvalidRequest => self.bad_requests,
            VendorFault::ContentFilter => self.content_filters,
            _ => false,
        }
    }
}

impl When<ChatResponse, Error> for ByFault {
    fn remedy(&self, answer: Result<&ChatResponse, &Error>) -> Remedy {
        match answer {
            Err(error) if self.mends(error) => Remedy::Elsewhere,
            answer => ChatResponse::remedy(answer),
        }
    }
}

#[cfg(test)]
mod tests;
