//! Which template a path matches.

use std::ops::Range;

/// Templates by their segments. Before a segment is taken for a parameter it is looked for by name,
/// and what fails further down is tried the other way.
#[derive(Clone, Debug)]
pub(super) struct Tree<T> {
    named: Vec<(Box<str>, Tree<T>)>,
    any: Option<Box<Tree<T>>>,
    rest: Option<T>,
    end: Option<T>,
}

/// What a template is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Named(&'a str),
    /// `{name}`
    Any(&'a str),
    /// `{*name}`
    Rest(&'a str),
}

/// Where the parameters stand in a path, in the order of the template.
pub(super) type Places = Vec<Range<usize>>;

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self {
            named: Vec::new(),
            any: None,
            rest: None,
            end: None,
        }
    }
}

impl<T> Tree<T> {
    /// The place of a template. Templates that differ only in the names of parameters share it.
    pub(super) fn place<'a>(
        &mut self,
        segments: impl IntoIterator<Item = Segment<'a>>,
    ) -> &mut Option<T> {
        let mut node = self;
        for segment in segments {
            node = match segment {
                Segment::Named(name) => {
                    let found = node.named.binary_search_by(|(have, _)| (**have).cmp(name));
                    let at = found.unwrap_or_else(|at| {
                        node.named.insert(at, (name.into(), Self::default()));
                        at
                    });
                    &mut node.named[at].1
                }
                Segment::Any(_) => node.any.get_or_insert_default(),
                Segment::Rest(_) => return &mut node.rest,
            };
        }
        &mut node.end
    }

    /// What is at the template that matches, and the places of its parameters.
    pub(super) fn find(&self, path: &str) -> Option<(&T, Places)> {
        let mut places = Places::new();
        let found = self.search(path, path.strip_prefix('/').map(|_| 1), &mut places)?;
        Some((found, places))
    }

    /// `start` is where the next segment begins, if there is one.
    fn search(&self, path: &str, start: Option<usize>, places: &mut Places) -> Option<&T> {
        let Some(start) = start else {
            return self.end.as_ref();
        };
        let slash = path[start..].find('/').map(|at| start + at);
        let end = slash.unwrap_or(path.len());
        let next = slash.map(|at| at + 1);
        let segment = &path[start..end];
        let named = |(have, _): &(Box<str>, Self)| (**have).cmp(segment);
        if let Ok(at) = self.named.binary_search_by(named)
            && let Some(found) = self.named[at].1.search(path, next, places)
        {
            return Some(found);
        }
        if let Some(any) = &self.any
            && !segment.is_empty()
        {
            let before = places.len();
            places.push(start..end);
            if let Some(found) = any.search(path, next, places) {
                return Some(found);
            }
            places.truncate(before);
        }
        let rest = self.rest.as_ref()?;
        places.push(start..path.len());
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::template::segments;
    use proptest::prelude::*;

    fn tree(templates: &[&'static str]) -> Tree<&'static str> {
        let mut tree = Tree::default();
        for &template in templates {
            let place = tree.place(segments(template).map(Result::unwrap));
            assert!(place.replace(template).is_none(), "{template}");
        }
        tree
    }

    fn find<'a>(tree: &Tree<&'static str>, path: &'a str) -> Option<(&'static str, Vec<&'a str>)> {
        let (template, places) = tree.find(path)?;
        Some((template, places.into_iter().map(|at| &path[at]).collect()))
    }

    #[test]
    fn names_win_over_parameters_and_parameters_over_the_rest() {
        let tree = tree(&[
            "/",
            "/users",
            "/users/",
            "/users/me",
            "/users/{id}",
            "/users/{id}/posts/{post}",
            "/users/{*rest}",
            "/{*all}",
        ]);
        for (path, template, params) in [
            ("/", "/", &[][..]),
            ("/users", "/users", &[]),
            ("/users/", "/users/", &[]),
            ("/users/me", "/users/me", &[]),
            ("/users/7", "/users/{id}", &["7"]),
            (
                "/users/me/posts/1",
                "/users/{id}/posts/{post}",
                &["me", "1"],
            ),
            ("/users/7/posts", "/users/{*rest}", &["7/posts"]),
            ("/users/7/posts/", "/users/{*rest}", &["7/posts/"]),
            ("/else/where", "/{*all}", &["else/where"]),
        ] {
            assert_eq!(
                find(&tree, path),
                Some((template, params.to_vec())),
                "{path}"
            );
        }
    }

    #[test]
    fn a_parameter_is_never_empty_and_the_rest_may_be() {
        let tree = tree(&["/a/{x}", "/b/{*x}"]);
        assert_eq!(find(&tree, "/a/"), None);
        assert_eq!(find(&tree, "/a/1/2"), None);
        assert_eq!(find(&tree, "/b/"), Some(("/b/{*x}", vec![""])));
        assert_eq!(find(&tree, "/b"), None);
        assert_eq!(find(&tree, ""), None);
    }

    #[test]
    fn what_fails_further_down_is_tried_the_other_way() {
        let tree = tree(&["/a/b/c", "/a/{x}/d", "/{y}/b/{z}/e"]);
        assert_eq!(find(&tree, "/a/b/d"), Some(("/a/{x}/d", vec!["b"])));
        assert_eq!(
            find(&tree, "/a/b/c/e"),
            Some(("/{y}/b/{z}/e", vec!["a", "c"]))
        );
        assert_eq!(find(&tree, "/a/b"), None);
    }

    proptest! {
        #[test]
        fn a_template_matches_what_it_is_filled_with(
            segments in prop::collection::vec(
                prop_oneof!["[ab]{1,2}".prop_map(|name| (name, false)), "[ab]{1,2}".prop_map(|name| (name, true))],
                1..5,
            ),
        ) {
            let mut tree = Tree::default();
            let parsed = segments.iter().map(|(name, any)| if *any { Segment::Any(name) } else { Segment::Named(name) });
            *tree.place(parsed) = Some(());
            let path: String = segments.iter().flat_map(|(name, _)| ["/", name]).collect();
            let (_, places) = tree.find(&path).unwrap();
            let expected: Vec<_> = segments.iter().filter(|(_, any)| *any).map(|(name, _)| name).collect();
            prop_assert_eq!(places.into_iter().map(|at| &path[at]).collect::<Vec<_>>(), expected);
        }
    }
}
