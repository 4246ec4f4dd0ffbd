//! Names of weights as PyTorch's wrappers write them.

use std::collections::BTreeSet;

use super::Weight;
use crate::error::{Error, Result};

/// Prefixes that wrappers add to the names of their weights: `DataParallel`, `torch.compile`, FSDP, and
/// classes that keep a network in `self.model`. No weight of this project has such a name.
const WRAPPERS: [&str; 4] = ["module", "_orig_mod", "_fsdp_wrapped_module", "model"];

/// Removes wrapper prefixes from the names of weights, however they are nested, and returns the
/// prefixes that were found.
///
/// # Errors
/// Two weights have the same name then.
pub fn unwrap(weights: &mut [Weight]) -> Result<Vec<&'static str>> {
    let mut found = BTreeSet::new();
    for weight in weights.iter_mut() {
        let is_own = |part: &&str| {
            let wrapper = WRAPPERS.iter().position(|wrapper| wrapper == part);
            found.extend(wrapper);
            wrapper.is_none()
        };
        let own: Vec<&str> = weight.name.split('.').filter(is_own).collect();
        weight.name = own.join(".");
    }
    let mut names = BTreeSet::new();
    match weights.iter().find(|weight| !names.insert(&weight.name)) {
        None => Ok(found.into_iter().map(|wrapper| WRAPPERS[wrapper]).collect()),
        Some(Weight { name, .. }) => Err(Error::data(format!(
            "there are two weights named `{name}`, one of them inside a PyTorch wrapper"
        ))
        .help("save the `state_dict` of one model only")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrapped(names: &[&str]) -> Result<(Vec<String>, Vec<&'static str>)> {
        let weight = |name: &&str| Weight {
            name: (*name).to_owned(),
            shape: vec![],
            values: vec![0.0],
        };
        let mut weights: Vec<Weight> = names.iter().map(weight).collect();
        let found = unwrap(&mut weights)?;
        Ok((weights.into_iter().map(|one| one.name).collect(), found))
    }

    #[test]
    fn wrappers_are_taken_off_in_any_order_and_depth() {
        let bare = "blocks.0.ln1.weight";
        for (name, wrappers) in [
            ("_orig_mod.blocks.0.ln1.weight", &["_orig_mod"][..]),
            (
                "module._orig_mod.blocks.0.ln1.weight",
                &["module", "_orig_mod"],
            ),
            (
                "_orig_mod.module.blocks.0.ln1.weight",
                &["module", "_orig_mod"],
            ),
            (
                "model.model.blocks.0._orig_mod.ln1.weight",
                &["_orig_mod", "model"],
            ),
            (bare, &[]),
        ] {
            let (names, found) = unwrapped(&[name]).expect("unwrapped");
            assert_eq!((names[0].as_str(), &found[..]), (bare, wrappers));
        }
        let other = unwrapped(&["modules.a", "a.model_b"]).expect("as they were");
        assert_eq!(
            other,
            (vec!["modules.a".to_owned(), "a.model_b".to_owned()], vec![])
        );
    }

    #[test]
    fn names_that_differ_in_wrappers_alone_are_refused() {
        let error = unwrapped(&["head.weight", "model.head.weight"]).expect_err("refused");
        let says =
            "there are two weights named `head.weight`, one of them inside a PyTorch wrapper";
        assert_eq!(error.message(), says);
    }
}
