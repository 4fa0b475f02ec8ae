//! The variants, as they stand.

use super::{
    InvalidSplit,
    plan::{self, BUCKETS, Plan},
};
use http::HeaderValue;
use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

/// Sees how the requests are split, and splits them otherwise, while they come. Clones are handles to
/// the same split.
#[derive(Clone, Debug)]
pub struct SplitHandle(pub(super) Arc<Shared>);

/// One variant, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VariantStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its share of the callers, in basis points.
    pub weight: u32,
    /// How many calls went to it so far.
    pub calls: u64,
}

impl SplitHandle {
    /// The name of the experiment.
    #[must_use]
    pub fn experiment(&self) -> &str {
        &self.0.experiment
    }

    /// The variants, in the order in which they were given.
    #[must_use]
    pub fn variants(&self) -> Vec<VariantStatus> {
        let weights = self.0.plan().weights().to_vec();
        let variants = self.0.variants.iter().zip(weights);
        variants
            .map(|(variant, weight)| VariantStatus {
                name: variant.name.clone(),
                weight,
                calls: variant.calls.load(Ordering::Relaxed),
            })
            .collect()
    }

    /// Sets all weights at once, in basis points that are 10,000 together. Variants that are not named
    /// get none. Calls that are under way stay where they are.
    ///
    /// # Errors
    ///
    /// [`InvalidSplit`] if a name is unknown or there twice, or if it is not 10,000 together. Then all
    /// stays as it was.
    pub fn set_weights<N: AsRef<str>>(
        &self,
        weights: impl IntoIterator<Item = (N, u32)>,
    ) -> Result<(), InvalidSplit> {
        let mut all = vec![None; self.0.variants.len()];
        for (name, weight) in weights {
            let name = name.as_ref();
            let at = self.0.index(name);
            let at = at.ok_or_else(|| InvalidSplit::of(name, "there is none of this name"))?;
            if all[at].replace(weight).is_some() {
                return Err(InvalidSplit::of(name, "it is named twice"));
            }
        }
        let all: Vec<u32> = all.into_iter().map(Option::unwrap_or_default).collect();
        self.0.set(plan::exact(&self.0.names(), &all)?);
        Ok(())
    }

    /// Sends everybody to one variant: the other colour of blue and green.
    ///
    /// # Errors
    ///
    /// [`InvalidSplit`] if there is none of this name. Then all stays as it was.
    pub fn switch_to(&self, name: &str) -> Result<(), InvalidSplit> {
        self.set_weights([(name, BUCKETS)])
    }
}

/// What all clones of a split share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) experiment: Box<str>,
    pub(super) variants: Box<[Variant]>,
    plan: RwLock<Arc<Plan>>,
}

#[derive(Debug)]
pub(super) struct Variant {
    pub(super) name: Arc<str>,
    /// The name once more, as the value of a header.
    pub(super) value: HeaderValue,
    pub(super) calls: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        experiment: &str,
        names: &[Arc<str>],
        plan: Plan,
    ) -> Result<Self, InvalidSplit> {
        let variant = |name: &Arc<str>| {
            let value = HeaderValue::try_from(&**name);
            Ok(Variant {
                name: name.clone(),
                value: value.map_err(|_| InvalidSplit::of(name, "it cannot stand in a header"))?,
                calls: AtomicU64::new(0),
            })
        };
        Ok(Self {
            experiment: experiment.into(),
            variants: names.iter().map(variant).collect::<Result<_, _>>()?,
            plan: RwLock::new(Arc::new(plan)),
        })
    }

    /// The place of a variant.
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        let mut names = self.variants.iter();
        names.position(|variant| *variant.name == *name)
    }

    /// Whose bucket this is now.
    pub(super) fn pick(&self, bucket: u32) -> usize {
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner);
        plan.variant(bucket)
    }

    fn plan(&self) -> Arc<Plan> {
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner);
        plan.clone()
    }

    fn set(&self, plan: Plan) {
        let told: Vec<_> = self.names().into_iter().zip(plan.weights()).collect();
        tracing::info!(experiment = &*self.experiment, weights = ?told, "the split is another one");
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }

    fn names(&self) -> Vec<Arc<str>> {
        let names = self.variants.iter().map(|variant| variant.name.clone());
        names.collect()
    }
}
