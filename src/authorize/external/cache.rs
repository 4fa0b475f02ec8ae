//! Decisions that hold for a while.

use super::Question;
use crate::Rejection;
use http::HeaderMap;
use std::{collections::HashMap, mem, time::Duration};
use tokio::time::Instant;

/// The longest name of a question of which the decision is kept.
const LONGEST: usize = 2048;

/// In whose name what was asked.
pub(super) type Name = Box<[u8]>;

/// The principal with its rights, the client's address, the method, the host, the path with its query, the
/// route, and the model.
/// `None`: of a question without a principal, and of one that is too long, nothing is kept.
pub(super) fn name(question: &Question) -> Option<Name> {
    let principal = question.principal.as_ref()?;
    let mut name = Vec::with_capacity(128);
    // Each part with its length, so that no two lists of parts are one name.
    let mut push = |part: &[u8]| {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    };
    let optional = |text: Option<&str>, push: &mut dyn FnMut(&[u8])| match text {
        None => push(b"-"),
        Some(text) => {
            push(b"+");
            push(text.as_bytes());
        }
    };
    push(principal.id().as_bytes());
    optional(principal.key_id().map(|it| &**it), &mut push);
    optional(principal.team().map(|it| &**it), &mut push);
    optional(principal.tenant().map(|it| &**it), &mut push);
    push(&principal.scopes().count().to_be_bytes());
    for scope in principal.scopes() {
        push(scope.as_bytes());
    }
    push(&principal.roles().count().to_be_bytes());
    for role in principal.roles() {
        push(role.as_bytes());
    }
    push(&principal.attributes().count().to_be_bytes());
    for (attribute, values) in principal.attributes() {
        push(attribute.as_bytes());
        push(&values.len().to_be_bytes());
        for value in values {
            push(value.as_bytes());
        }
    }
    let client = question.client.map(|client| client.to_string());
    optional(client.as_deref(), &mut push);
    push(question.method.as_str().as_bytes());
    push(host(question));
    optional(question.route.as_deref(), &mut push);
    // A template is not enough: whoever decides is told the path, and may go by what stands in it.
    push(question.uri.path().as_bytes());
    optional(question.uri.query(), &mut push);
    optional(question.model.as_deref(), &mut push);
    (name.len() <= LONGEST).then(|| name.into())
}

fn host(question: &Question) -> &[u8] {
    let host = question.headers.get(http::header::HOST);
    match question.uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => host.map_or(b"", |host| host.as_bytes()),
    }
}

#[derive(Clone, Debug)]
pub(super) enum Kept {
    Allow(HeaderMap),
    Deny(Rejection),
}

/// Two generations: what is new, and what was new before. When the new ones are half of all, or are old
/// themselves, the older ones are dropped.
#[derive(Debug)]
pub(super) struct Cache {
    holds: Duration,
    half: usize,
    since: Option<Instant>,
    young: HashMap<Name, (Instant, Kept)>,
    old: HashMap<Name, (Instant, Kept)>,
}

impl Cache {
    pub(super) fn new(holds: Duration, most: usize) -> Self {
        Self {
            holds,
            half: (most / 2).max(1),
            since: None,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    pub(super) fn get(&self, name: &Name, now: Instant) -> Option<&Kept> {
        let found = self.young.get(name).or_else(|| self.old.get(name));
        found
            .filter(|(until, _)| now < *until)
            .map(|(_, kept)| kept)
    }

    pub(super) fn put(&mut self, name: Name, kept: Kept, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if self.young.len() >= self.half || now - since >= self.holds {
            self.old = mem::take(&mut self.young);
            self.since = Some(now);
        }
        self.young.insert(name, (now + self.holds, kept));
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Principal, authorize::external::Subject};
    use http::Request;

    fn asked(principal: Principal, uri: &str) -> Question {
        let mut request = Request::get(uri).body(crate::Body::empty()).unwrap();
        request.extensions_mut().insert(principal);
        assert_eq!(Subject::uri(&request), uri);
        Question::of(&request)
    }

    #[test]
    fn abuse_26_no_two_questions_have_one_name() {
        let mut names = Vec::new();
        for question in [
            asked(Principal::new("a"), "/b"),
            asked(Principal::new("ab"), "/"),
            asked(Principal::new("a").with_tenant("b"), "/b"),
            asked(Principal::new("a").with_team("b"), "/b"),
            asked(Principal::new("a").with_scopes(["b", "c"]), "/b"),
            asked(
                Principal::new("a").with_scopes(["b"]).with_roles(["c"]),
                "/b",
            ),
            asked(Principal::new("a").with_scopes(["bc"]), "/b"),
            asked(Principal::new("a").with_roles(["b", "c"]), "/b"),
            asked(Principal::new("a"), "http://other/b"),
            asked(Principal::new("a"), "/b?query=1"),
            asked(Principal::new("a").with_attribute("acr", ["mfa"]), "/b"),
            asked(Principal::new("a").with_attribute("acr", ["b"]), "/b"),
        ] {
            names.push(name(&question).unwrap());
        }
        let of_a_route = Question {
            route: Some("/b".into()),
            ..asked(Principal::new("a"), "/b")
        };
        names.push(name(&of_a_route).unwrap());
        for path in ["/users/7", "/users/8"] {
            let of_a_template = Question {
                route: Some("/users/{id}".into()),
                ..asked(Principal::new("a"), path)
            };
            names.push(name(&of_a_template).unwrap());
        }
        let from_elsewhere = Question {
            client: Some([192, 0, 2, 1].into()),
            ..asked(Principal::new("a"), "/b")
        };
        names.push(name(&from_elsewhere).unwrap());
        let of_a_model = Question {
            model: Some("/b".into()),
            ..asked(Principal::new("a"), "/b")
        };
        names.push(name(&of_a_model).unwrap());
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        let same = asked(Principal::new("a"), "/b");
        assert_eq!(name(&same), name(&asked(Principal::new("a"), "/b")));
        let nobody = Question {
            principal: None,
            ..same
        };
        assert_eq!(name(&nobody), None);
        let long = asked(Principal::new("a"), &format!("/{}", "b".repeat(LONGEST)));
        assert_eq!(name(&long), None);
    }

    #[test]
    fn a_decision_holds_for_its_time_and_a_flood_of_others_leaves_little() {
        let mut cache = Cache::new(Duration::from_secs(5), 100);
        let start = Instant::now();
        let name = |n: usize| Name::from(n.to_be_bytes());
        cache.put(name(0), Kept::Allow(HeaderMap::new()), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(cache.get(&name(0), at(4)).is_some());
        assert!(cache.get(&name(0), at(5)).is_none());
        for n in 1..10_000 {
            cache.put(name(n), Kept::Allow(HeaderMap::new()), start);
            assert!(cache.len() <= 100);
        }
        assert!(cache.get(&name(0), start).is_none());
        assert!(cache.get(&name(9_999), start).is_some());
        // Of two times ago nothing is left.
        cache.put(name(1), Kept::Allow(HeaderMap::new()), at(10));
        cache.put(name(2), Kept::Allow(HeaderMap::new()), at(20));
        assert_eq!(cache.len(), 2);
    }
}
