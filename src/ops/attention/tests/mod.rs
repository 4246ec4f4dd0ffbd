//! Every kind of head against the reference, and the maps against the output.

mod cross;
mod equations;
mod heads;
mod written_out;

use dfdx::shapes::HasShape;
use dfdx::tensor::Cpu;

use super::*;
use crate::ops::decoding::tests::check_decoding;
use crate::ops::maps::projected;
use crate::ops::maps::tests::{apply_maps, check_output, check_sums};
use crate::ops::tests::{Case, arbitrary, batch, check_op, on_each_device};

pub(super) type Sublayer<const EMBED: usize, N, D> =
    (Norm<EMBED, N, D>, AttentionWeights<EMBED, N, D>);

fn sublayer<const EMBED: usize, N: Dtype, D: Device<N>>(
    device: &D,
    layout: Layout,
) -> Sublayer<EMBED, N, D> {
    let weights = AttentionWeights::zeros(device, layout).expect("memory");
    (Norm::layer(device).expect("memory"), weights)
}

const SOFTMAX: Layout = Layout::softmax(3, 4);
const ROTARY: Layout = scored(Scoring {
    rotary: Some(rotary(4)),
    ..Scoring::SOFTMAX
});
const ALIBI: Layout = scored(Scoring {
    bias: Some(Bias::Alibi),
    ..Scoring::SOFTMAX
});
const WINDOW: Layout = scored(Scoring {
    window: Some(5),
    ..Scoring::SOFTMAX
});
const LINEAR: Layout = scored(Scoring {
    similarity: Similarity::FeatureMap,
    ..Scoring::SOFTMAX
});
/// Half of the channels, with another base.
const PARTLY_ROTARY: Layout = scored(Scoring {
    rotary: Some(Rotary {
        base: 50.0,
        channels: 2,
    }),
    ..Scoring::SOFTMAX
});
const LINEAR_IN_A_WINDOW: Layout = Layout {
    kv_heads: 1,
    ..scored(Scoring {
        window: Some(18),
        similarity: Similarity::FeatureMap,
        ..Scoring::SOFTMAX
    })
};
const SHARED: Layout = Layout {
    kv_heads: 1,
    ..SOFTMAX
};
const ALL_AT_ONCE: Layout = Layout {
    kv_heads: 1,
    ..all_at_once(4)
};
const DIFFERENTIAL: Layout = Layout {
    head: HeadKind::Differential,
    ..SOFTMAX
};
const SYNTHESIZER: Layout = Layout {
    head: HeadKind::Synthesizer { positions: 41 },
    ..SOFTMAX
};
const GATED_SYNTHESIZER: Layout = Layout {
    gate: Some(Gate::Head),
    ..SYNTHESIZER
};

/// Rotated halves of heads that share keys and values, in a window.
const DIFFERENTIAL_WITH_PARTS: Layout = Layout {
    kv_heads: 1,
    scoring: Scoring {
        rotary: Some(rotary(2)),
        ..WINDOW.scoring
    },
    ..DIFFERENTIAL
};
/// Capped scores of positions that fall with distance, in a window with a sink.
const SYNTHESIZER_WITH_PARTS: Layout = Layout {
    kv_heads: 1,
    scoring: Scoring {
        bias: Some(Bias::Alibi),
        softcap: Some(0.7),
        sink: Some(Sink::Learned),
        ..WINDOW.scoring
    },
    ..SYNTHESIZER
};

/// With a bias that is learned or depends on tokens, and other parts whose gradients all maps of a head have a share in.
fn learned_parts(layout: Layout) -> [Layout; 2] {
    [Bias::Relative, Bias::Forget { divisor: 1 }].map(|bias| Layout {
        kv_heads: 1,
        gate: Some(Gate::Channel),
        scoring: Scoring {
            bias: Some(bias),
            sink: Some(Sink::Learned),
            softcap: Some(3.0),
            ..WINDOW.scoring
        },
        ..layout
    })
}

const fn normed(qk_norm: QkNorm) -> Layout {
    Layout {
        qk_norm: Some(qk_norm),
        ..SOFTMAX
    }
}

const fn gated(gate: Gate) -> Layout {
    Layout {
        gate: Some(gate),
        ..SOFTMAX
    }
}

const fn similar(similarity: Similarity) -> Layout {
    scored(Scoring {
        similarity,
        ..Scoring::SOFTMAX
    })
}

/// A state in place of weights.
const fn recurrent(bias: Option<Bias>) -> Layout {
    Layout {
        head_norm: true,
        ..scored(Scoring {
            similarity: Similarity::Product,
            bias,
            ..Scoring::SOFTMAX
        })
    }
}

/// Without the norm, which makes the outputs of arbitrary weights all but singular.
const fn corrected(bias: Option<Bias>) -> Layout {
    Layout {
        delta: true,
        head_norm: false,
        qk_norm: Some(QkNorm::Unit),
        ..recurrent(bias)
    }
}

const fn biased(bias: Bias) -> Layout {
    scored(Scoring {
        bias: Some(bias),
        ..Scoring::SOFTMAX
    })
}

const fn sunk(sink: Sink) -> Layout {
    scored(Scoring {
        sink: Some(sink),
        ..Scoring::SOFTMAX
    })
}

const TALKING: Layout = Layout {
    talking: true,
    ..SOFTMAX
};

const BOUNDED: Layout = scored(Scoring {
    softcap: Some(0.7),
    ..Scoring::SOFTMAX
});

/// A part each, and some together.
pub(super) const LAYOUTS: [Layout; 23] = [
    SOFTMAX,
    ROTARY,
    PARTLY_ROTARY,
    ALIBI,
    WINDOW,
    LINEAR,
    BOUNDED,
    all_at_once(4),
    normed(QkNorm::Rms),
    normed(QkNorm::L2),
    sunk(Sink::Zero),
    sunk(Sink::Learned),
    gated(Gate::Head),
    gated(Gate::Channel),
    similar(Similarity::Sigmoid),
    similar(Similarity::StickBreaking),
    similar(Similarity::Taylor),
    biased(Bias::Relative),
    biased(Bias::Forget { divisor: 1 }),
    recurrent(Some(Bias::Decay)),
    recurrent(Some(Bias::Forget { divisor: 16 })),
    corrected(None),
    corrected(Some(Bias::Forget { divisor: 16 })),
];

const fn scored(scoring: Scoring) -> Layout {
    Layout { scoring, ..SOFTMAX }
}

/// As in the paper.
const fn rotary(channels: usize) -> Rotary {
    let base = 10_000.0;
    Rotary { base, channels }
}

/// A rotation, a bias and a window.
const fn all_at_once(head_dim: usize) -> Layout {
    scored(Scoring {
        rotary: Some(rotary(head_dim)),
        bias: Some(Bias::Alibi),
        window: Some(18),
        ..Scoring::SOFTMAX
    })
}

/// Relative tolerances of the op and of decoding, for heads that are `embed` wide in total.
fn tolerances(layout: &Layout, embed: usize) -> [f64; 2] {
    let times = embed as f64 / 12.0;
    if layout.head_norm {
        // The norm divides by what is left when products cancel.
        return [3e-4, 1e-4 * times];
    }
    // Sums over a document, the quotients of norms, and scores that grow with both.
    let is_rough = layout.delta || layout.forgets() || layout.qk_norm.is_some();
    match layout.head {
        // The norm divides by what is left when two maps cancel, which amplifies rounding errors.
        HeadKind::Differential => [3e-4, if is_rough { 1e-4 } else { 1e-5 * times }],
        _ if is_rough => [1e-4, 1e-4],
        // Rounding errors accumulate like a random walk over the channels.
        HeadKind::Standard | HeadKind::Synthesizer { .. } => [1e-5 * times.sqrt(); 2],
    }
}

/// Checks 3 heads of width 4 on batches of many shapes, then incremental decoding and maps.
fn check<D: AttentionOp<f32> + 'static>(device: &D, layout: Layout) {
    let many: Vec<usize> = (0..40).map(|i| 1 + (i * 5) % 12).collect();
    // Up to two vectors of keys, and more than a panel of the matrix kernel.
    let long = [16, 17, 33, 40];
    check_heads::<12, D>(device, layout, &[&[1][..], &[12], &[3, 1, 7], &many, &long]);
    check_shown(layout);
}

/// Checks a combination of parts on a few batches. The delta rule is checked without the norm after it, which makes the
/// outputs of arbitrary weights all but singular.
pub(crate) fn check_combination<D: AttentionOp<f32> + 'static>(device: &D, layout: Layout) {
    let layout = Layout {
        head_norm: layout.head_norm && !layout.delta,
        ..layout
    };
    // Rounding errors of the parts multiply.
    let tolerances = tolerances(&layout, 12).map(|one| (10.0 * one).min(1e-3));
    check_within::<12, D>(device, layout, &[&[3, 1, 7], &[17, 20]], tolerances);
    check_shown_within(layout, tolerances[0]);
}

fn check_heads<const EMBED: usize, D: AttentionOp<f32> + 'static>(
    device: &D,
    layout: Layout,
    batches: &[&[usize]],
) {
    check_within::<EMBED, D>(device, layout, batches, tolerances(&layout, EMBED));
}

/// The same with these relative tolerances of the op and of decoding.
fn check_within<const EMBED: usize, D: AttentionOp<f32> + 'static>(
    device: &D,
    layout: Layout,
    batches: &[&[usize]],
    tolerances: [f64; 2],
) {
    check_batches::<EMBED, D>(device, layout, batches, tolerances[0]);
    check_cached::<EMBED, D>(device, layout, tolerances[1]);
}

/// Checks the op on some batches, without and with dropout.
fn check_batches<const EMBED: usize, D: AttentionOp<f32> + 'static>(
    device: &D,
    layout: Layout,
    batches: &[&[usize]],
    tolerance: f64,
) {
    for lengths in batches {
        for (weights, output) in [
            (Dropout::NONE, Dropout::NONE),
            (Dropout::new(0.3, 1), Dropout::new(0.2, 2)),
        ] {
            let batch = batch(lengths, 9);
            let dropout = AttentionDropout {
                weights,
                output,
                context: batch.longest().max(42),
            };
            check_op::<D, EMBED, EMBED, Sublayer<EMBED, f32, D>, Sublayer<EMBED, f64, Cpu>>(Case {
                device: device.clone(),
                fast_model: sublayer(device, layout),
                exact_model: sublayer(&Cpu::default(), layout),
                fast: &|(norm, weights), x, _| D::try_attention(x, norm, weights, &batch, dropout),
                exact: &|(norm, weights), x, _| {
                    reference::attention(x, norm, weights, &batch, dropout)
                },
                plain: &|(norm, weights), x, _| {
                    reference::attention(x, norm, weights, &batch, dropout)
                },
                tokens: batch.len(),
                tolerance,
            });
        }
    }
}

/// Checks incremental decoding.
fn check_cached<const EMBED: usize, D: AttentionOp<f32> + 'static>(
    device: &D,
    layout: Layout,
    tolerance: f64,
) {
    let layout = longer(layout);
    check_decoding::<D, EMBED, Sublayer<EMBED, f32, D>, Sublayer<EMBED, f64, Cpu>>(
        device,
        (sublayer(device, layout), sublayer(&Cpu::default(), layout)),
        &|(norm, weights), rows| D::incremental_attention(norm, weights, (rows, 128)),
        &|(norm, weights), x, batch| {
            let none = AttentionDropout::none(batch.longest());
            reference::attention(x, norm, weights, batch, none)
        },
        tolerance,
    );
}

/// The same with room for the sequences of [`check_decoding`].
fn longer(layout: Layout) -> Layout {
    let head = match layout.head {
        HeadKind::Synthesizer { .. } => HeadKind::Synthesizer { positions: 128 },
        other => other,
    };
    Layout { head, ..layout }
}

/// Whether each query's weights add up to 1.
fn adds_up(layout: &Layout) -> bool {
    let Scoring {
        similarity, sink, ..
    } = layout.scoring;
    let sums = [
        Similarity::Softmax,
        Similarity::FeatureMap,
        Similarity::Taylor,
    ];
    !layout.talking && sink.is_none() && sums.contains(&similarity)
}

/// Checks that the values weighted by the maps are the output.
fn check_shown(layout: Layout) {
    check_shown_within(layout, tolerances(&layout, 12)[0]);
}

fn check_shown_within(layout: Layout, tolerance: f64) {
    for tokens in [1, 13, 40] {
        let mut sublayer: Sublayer<12, f32, Cpu> = sublayer(&Cpu::default(), layout);
        let x = arbitrary(&mut sublayer, tokens);
        let (norm, weights) = &sublayer;
        let maps = super::maps(&x, norm, weights);
        let (inside, none) = (x.as_vec(), AttentionDropout::none(tokens));
        let normed = crate::ops::maps::normed(&inside, norm);
        let values = projected(&normed, &weights.value);
        let mut heads = apply_maps(&maps, &values);
        if let Some(of) = &weights.difference {
            differential::Difference::new(of).norm(&mut heads);
        } else if adds_up(&layout) {
            check_sums(&maps);
        }
        if layout.head_norm {
            qk_norm::normalise(QkNorm::Rms, qk_norm::Gain::One, &mut heads, 4);
        }
        if let Some(gate) = &weights.gate {
            let (gates, count) = (projected(&normed, gate), gate.weight.shape().0);
            gate::apply(&mut heads, layout.width(), (&gates, count, count));
        }
        let batch = batch(&[tokens], 9);
        let given = Cpu::try_attention(x, norm, weights, &batch, none);
        let given = given.expect("memory").as_vec();
        check_output(&heads, &weights.proj, &inside, &given, tolerance);
    }
}

on_each_device!(softmax, |device| check(&device, SOFTMAX));
on_each_device!(rotary_positions, |device| check(&device, ROTARY));
on_each_device!(linear_biases, |device| check(&device, ALIBI));
on_each_device!(a_window, |device| check(&device, WINDOW));
on_each_device!(feature_maps, |device| check(&device, LINEAR));
on_each_device!(shared_keys_and_values, |device| check(&device, SHARED));
on_each_device!(all_at_once, |device| check(&device, ALL_AT_ONCE));
on_each_device!(a_rotation_of_some_channels, |device| check(
    &device,
    PARTLY_ROTARY
));
on_each_device!(feature_maps_in_a_window, |device| check(
    &device,
    LINEAR_IN_A_WINDOW
));
on_each_device!(norms_of_queries_and_keys, |device| {
    check(&device, normed(QkNorm::Rms));
    check(&device, normed(QkNorm::L2));
});
on_each_device!(sinks, |device| {
    check(&device, sunk(Sink::Zero));
    check(&device, sunk(Sink::Learned));
});
on_each_device!(output_gates, |device| {
    check(&device, gated(Gate::Head));
    check(&device, gated(Gate::Channel));
});
on_each_device!(bounded_scores, |device| check(&device, BOUNDED));
on_each_device!(talking_heads, |device| check(&device, TALKING));
on_each_device!(sigmoids, |device| check(
    &device,
    similar(Similarity::Sigmoid)
));
on_each_device!(broken_sticks, |device| check(
    &device,
    similar(Similarity::StickBreaking)
));
on_each_device!(taylor_series, |device| check(
    &device,
    similar(Similarity::Taylor)
));
on_each_device!(relative_positions, |device| check(
    &device,
    biased(Bias::Relative)
));
on_each_device!(forget_gates, |device| check(
    &device,
    biased(Bias::Forget { divisor: 1 })
));
on_each_device!(retention, |device| check(
    &device,
    recurrent(Some(Bias::Decay))
));
on_each_device!(gated_products, |device| check(
    &device,
    recurrent(Some(Bias::Forget { divisor: 16 }))
));
on_each_device!(the_delta_rule, |device| check(&device, corrected(None)));
on_each_device!(the_gated_delta_rule, |device| check(
    &device,
    corrected(Some(Bias::Forget { divisor: 16 }))
));
on_each_device!(two_maps, |device| check(&device, DIFFERENTIAL));
on_each_device!(scores_of_positions, |device| {
    check(&device, SYNTHESIZER);
    check(&device, GATED_SYNTHESIZER);
});

// Documents of one token, of about a tile of the GPU kernels, of more than one tile, and with distances beyond the last
// bucket of relative positions; with parts that change how kernels go over them.
on_each_device!(long_documents, |device| {
    let batches = [&[1, 31, 32, 33][..], &[140, 2]];
    let sticks = Scoring {
        bias: Some(Bias::Relative),
        window: Some(35),
        softcap: Some(3.0),
        ..similar(Similarity::StickBreaking).scoring
    };
    let decaying = Scoring {
        window: Some(35),
        ..recurrent(Some(Bias::Decay)).scoring
    };
    for layout in [
        biased(Bias::Relative),
        Layout {
            kv_heads: 1,
            ..biased(Bias::Forget { divisor: 1 })
        },
        scored(sticks),
        scored(decaying),
        corrected(Some(Bias::Forget { divisor: 16 })),
        Layout {
            kv_heads: 1,
            talking: true,
            ..scored(sticks)
        },
        Layout {
            talking: true,
            ..biased(Bias::Forget { divisor: 1 })
        },
    ] {
        check_heads::<12, _>(&device, layout, &batches);
    }
    let synthesizer = Layout {
        head: HeadKind::Synthesizer { positions: 140 },
        ..SYNTHESIZER
    };
    for layout in [DIFFERENTIAL, synthesizer]
        .into_iter()
        .flat_map(learned_parts)
    {
        let tolerances = tolerances(&layout, 12).map(|one| 10.0 * one);
        check_within::<12, _>(&device, layout, &batches, tolerances);
    }
});

// Tiles of the GPU kernels that have fewer keys than a warp has lanes, or some of the channels at a time. In decoding only
// the delta rule has tiles.
on_each_device!(wider_heads, |device| {
    let wide = |layout: Layout, head_dim| Layout {
        heads: 1,
        kv_heads: 1,
        head_dim,
        ..layout
    };
    let tolerances = |layout: &Layout| tolerances(layout, layout.width());
    let relative = wide(biased(Bias::Relative), 130);
    let [sticks, delta] = [
        similar(Similarity::StickBreaking),
        corrected(Some(Bias::Decay)),
    ]
    .map(|layout| [130, 72].map(|head_dim| wide(layout, head_dim)));
    let others = [
        relative,
        wide(SOFTMAX, 512),
        wide(TALKING, 130),
        wide(DIFFERENTIAL, 130),
        wide(SYNTHESIZER, 130),
    ];
    for layout in others.into_iter().chain(sticks).chain(delta) {
        check_batches::<8, _>(&device, layout, &[&[33, 2]], tolerances(&layout)[0]);
    }
    for layout in [relative].into_iter().chain(delta) {
        check_cached::<8, _>(&device, layout, tolerances(&layout)[1]);
    }
});
on_each_device!(two_maps_with_parts, |device| {
    check(&device, DIFFERENTIAL_WITH_PARTS);
    for layout in learned_parts(DIFFERENTIAL) {
        let qk_norm = Some(QkNorm::L2);
        check_combination(&device, Layout { qk_norm, ..layout });
    }
});
on_each_device!(scores_of_positions_with_parts, |device| {
    check(&device, SYNTHESIZER_WITH_PARTS);
    for layout in learned_parts(SYNTHESIZER) {
        check_combination(&device, layout);
        let talking = true;
        check_combination(&device, Layout { talking, ..layout });
    }
});

// Widths that are not a power of two, that fill a warp, and that cover each tile size of the GPU
// kernels.
on_each_device!(wide_heads, |device| {
    let batches = [&[3, 1, 7][..], &[33, 40]];
    let heads = |layout: Layout, [heads, kv_heads, head_dim]: [usize; 3]| Layout {
        heads,
        kv_heads,
        head_dim,
        ..layout
    };
    check_heads::<12, _>(&device, heads(all_at_once(6), [2, 1, 6]), &batches);
    check_heads::<64, _>(&device, heads(SOFTMAX, [2, 2, 32]), &batches);
    check_heads::<80, _>(&device, heads(ALIBI, [2, 1, 40]), &batches);
    check_heads::<144, _>(&device, heads(all_at_once(72), [2, 1, 72]), &batches);
    check_heads::<128, _>(&device, heads(LINEAR, [1, 1, 128]), &batches);
    // Wider or narrower in total than the stream.
    check_heads::<20, _>(&device, heads(SOFTMAX, [3, 1, 4]), &batches);
    check_heads::<8, _>(&device, heads(SOFTMAX, [3, 1, 4]), &batches);
    for layout in [DIFFERENTIAL, SYNTHESIZER] {
        check_heads::<12, _>(&device, heads(layout, [2, 2, 6]), &batches);
        check_heads::<20, _>(&device, heads(layout, [3, 3, 4]), &batches);
        check_heads::<64, _>(&device, heads(layout, [2, 2, 32]), &batches);
        check_heads::<80, _>(&device, heads(layout, [2, 2, 40]), &batches);
        check_heads::<72, _>(&device, heads(layout, [1, 1, 72]), &batches);
        check_heads::<128, _>(&device, heads(layout, [1, 1, 128]), &batches);
    }
});
