//! Decide who may do what.

mod asked;
mod condition;
#[cfg(feature = "cel")]
mod expression;
mod policy;
mod role;
mod rule;
mod service;
#[cfg(test)]
mod tests;
mod window;

#[cfg(feature = "cel")]
#[cfg_attr(docsrs, doc(cfg(feature = "cel")))]
pub use self::expression::{Expression, InvalidExpression};
pub use self::{
    asked::{Ask, Asked},
    policy::{Decision, Effect, Policy, Stats},
    role::Role,
    rule::Rule,
    service::{Authorize, AuthorizeLayer, ResponseFuture},
    window::{InvalidWindow, Window},
};
