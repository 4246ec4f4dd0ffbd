//! Models as the registry places them.

use super::*;
use crate::config::schema::{DeviceKind, Placement, Precision};
use crate::config::shape::QUICKSTART;
use crate::model::registry;

const IN_F32: Placement = Placement {
    device: DeviceKind::Cpu,
    precision: Precision::F32,
};

/// Models of one thread do not touch each other's precision.
#[test]
fn a_model_computes_in_the_precision_of_its_placement() {
    let in_bf16 = Placement {
        precision: Precision::Bf16,
        ..IN_F32
    };
    if registry::check(in_bf16).is_err() {
        eprintln!("not tested: no AVX512_BF16");
        return;
    }
    assert_eq!(registry::matmul_kernel(in_bf16), "avx512-bf16");
    assert_ne!(registry::matmul_kernel(IN_F32), "avx512-bf16");
    let spec = ModelSpec {
        embed: QUICKSTART.embed,
        heads: 4,
        head_dim: QUICKSTART.embed / 4,
        hidden: QUICKSTART.hidden,
        vocabulary: QUICKSTART.vocabulary,
        context: QUICKSTART.context,
        ..small()
    };
    let sequence = Sequence {
        tokens: (1..40).collect(),
        targets: (2..41).collect(),
    };
    let batch = Ragged::from_sequences(&[sequence]);
    let start = Start {
        seed: 1,
        deviation: 0.1,
    };
    let fresh = |placement| registry::instantiate(&spec, placement, start).expect("memory");
    let step = |model: &mut Box<dyn Trainable>| {
        let metrics = model.step(&batch, &settings(0.01, 0.0));
        metrics.expect("a step").loss_nats
    };
    let mut alone = fresh(IN_F32);
    let of_alone = [(); 3].map(|()| step(&mut alone));
    let [mut whole, mut rounded] = [IN_F32, in_bf16].map(fresh);
    let in_turn = [(); 3].map(|()| [step(&mut whole), step(&mut rounded)]);
    assert_eq!(in_turn.map(|[whole, _]| whole), of_alone);
    assert!(in_turn.iter().all(|[whole, rounded]| whole != rounded));
}
