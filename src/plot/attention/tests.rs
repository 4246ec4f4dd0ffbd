use super::answer::Strips;
use super::maps::Maps;
use super::*;
use crate::plot::tests::gallery::{Label, chance};

/// A figure of made-up values.
pub fn made_up<V>(points: usize, label: Label<'_>) -> Attention<V> {
    let text: Vec<char> = "Where was Ada Moss born?\u{2047}Lima".chars().collect();
    let row = |i: usize, layer: usize, head: usize, query: usize, key: usize| AttentionRow {
        question: 1,
        layer,
        head,
        query_position: query,
        query_character: Some(text[query - 1].to_string()),
        key_position: key,
        key_character: Some(text[key - 1].to_string()),
        weight: chance(i * 100 + query, key * 7 + layer + head) as f32 * 2.0 / query as f32,
    };
    let model = |i: usize| MappedModel {
        label: label(i),
        seed: 1,
        rows: (0..4)
            .flat_map(|head| (1..=text.len()).map(move |query| (head, query)))
            .flat_map(|(head, query)| (1..=query).map(move |key| (head, query, key)))
            .map(|(head, query, key)| row(i, 1 + head / 2, 1 + head % 2, query, key))
            .collect(),
    };
    Attention {
        models: (0..points).map(model).collect(),
        view: PhantomData,
    }
}

/// A model of `layers` with `heads` that has read `text`; each head looks at a place of its own.
fn model(label: &str, text: &str, [layers, heads]: [usize; 2]) -> MappedModel {
    let characters: Vec<char> = text.chars().collect();
    let mut rows = vec![];
    for (layer, head) in (1..=layers).flat_map(|layer| (1..=heads).map(move |head| (layer, head))) {
        for query in 1..=characters.len() {
            let favourite = 1 + (layer * 7 + head * 3) % query;
            let share = 0.4 / query as f32;
            for key in 1..=query {
                rows.push(AttentionRow {
                    question: 1,
                    layer,
                    head,
                    query_position: query,
                    query_character: Some(characters[query - 1].to_string()),
                    key_position: key,
                    key_character: Some(characters[key - 1].to_string()),
                    weight: share + if key == favourite { 0.6 } else { 0.0 },
                });
            }
        }
    }
    MappedModel {
        label: label.to_owned(),
        seed: 1,
        rows,
    }
}

fn figure<V>(models: Vec<MappedModel>) -> Attention<V> {
    Attention {
        models,
        view: PhantomData,
    }
}

const TEXT: &str = "Where was Ada Moss born?\u{2047}Lima";

#[test]
fn the_text_is_a_question_a_mask_and_an_answer() {
    let seen = Seen::of(&model("a", TEXT, [1, 1]).rows);
    assert_eq!((seen.places(), seen.asking), (29, 24));
    assert_eq!(seen.answer(), "Lima");
    let initials: String = seen.initials().iter().map(|&p| seen.character(p)).collect();
    assert_eq!(initials, "WwAMb\u{2047}L");
    assert_eq!(seen.quoted(15), "\u{201c}o\u{201d} of \u{201c}Moss\u{201d}");
    assert_eq!(seen.quoted(23), "\u{201c}?\u{201d}");
    assert_eq!(seen.quoted(5), "the space before \u{201c}was\u{201d}");
    assert_eq!(seen.quoted(24), "the mask");
    assert_eq!(Seen::of(&[]).places(), 0);
}

#[test]
fn the_caption_says_what_most_heads_attend_to() {
    let mut one = model("a", TEXT, [2, 2]);
    // From the mask, three heads look at the M, and one at the end of the question.
    for row in one.rows.iter_mut().filter(|row| row.query_position == 25) {
        let favourite = if (row.layer, row.head) == (2, 2) {
            24
        } else {
            15
        };
        row.weight = if row.key_position == favourite {
            1.0
        } else {
            0.0
        };
    }
    let told = "\u{201c}M\u{201d} of \u{201c}Moss\u{201d} (place 15) has the largest weight in 3 of 4 heads, \
                \u{201c}?\u{201d} (place 24) in 1";
    assert_eq!(finding(&Seen::of(&one.rows)).expect("heads"), told);
    assert_eq!(finding(&Seen::of(&[])), None);
    let both = figure::<Maps>(vec![one.clone(), model("b", TEXT, [1, 1])]);
    let caption = both
        .explained(Caption::default(), &both.seen(), &PointSubset::of(2, 2))
        .finish();
    let told = format!("is asked for: a, {told}; b, ");
    assert!(caption.contains(&told), "{caption}");
}

#[test]
fn the_table_of_each_figure_is_what_it_shows() {
    let models = vec![model("a", TEXT, [2, 3])];
    let lines = |drawn: Figure| -> Vec<String> {
        let csv = String::from_utf8(drawn.csv).expect("text");
        csv.lines().map(str::to_owned).collect()
    };
    let maps = lines(
        figure::<Maps>(models.clone())
            .draw(Caption::default())
            .expect("drawn"),
    );
    assert_eq!(maps.len(), 1 + 6 * (29 * 30 / 2));
    let start =
        "label,seed,layer,head,query_position,query_character,key_position,key_character,weight";
    assert_eq!(maps[0], start);
    let strips = lines(
        figure::<Strips>(models)
            .draw(Caption::default())
            .expect("drawn"),
    );
    assert_eq!(
        strips.len(),
        1 + 6 * 25,
        "the mask sees the question and itself"
    );
    assert_eq!(
        strips[0],
        "label,seed,layer,head,key_position,key_character,weight"
    );
    assert!(
        strips[25].starts_with("a,1,1,1,25,\u{2047},"),
        "{}",
        strips[25]
    );
}

#[test]
fn extremes_are_drawn_without_a_font() {
    let mut signed = model("signed", TEXT, [1, 2]);
    signed
        .rows
        .iter_mut()
        .for_each(|row| row.weight = row.weight * 3.0 - 1.0);
    let mut latents = model("latents", TEXT, [3, 2]);
    for row in &mut latents.rows {
        row.query_character = row.query_character.take().filter(|_| row.layer > 1);
        row.key_character = row.key_character.take().filter(|_| row.layer == 1);
    }
    latents
        .rows
        .retain(|row| row.layer == 3 || row.query_position <= 7);
    let mut broken = model("broken", "\u{6f22}\u{2047}", [1, 1]);
    broken.rows[0].key_position = usize::MAX;
    broken.rows[1].query_position = 0;
    broken.rows[2].weight = f32::NAN;
    let long = "Where was somebody with a very long name born? ".repeat(3);
    let label = "a label that is much too long for its place, and goes on and on ".repeat(3);
    for models in [
        vec![],
        vec![MappedModel::default()],
        vec![signed.clone(), latents.clone()],
        vec![broken],
        vec![model(&label, "a", [1, 1])],
        vec![model("wide", &long[..128], [1, 20])],
    ] {
        let draw = || {
            let maps = figure::<Maps>(models.clone()).draw(Caption::default());
            let strips = figure::<Strips>(models.clone()).draw(Caption::default());
            [maps.expect("drawn"), strips.expect("drawn")]
        };
        let drawn = draw();
        assert_eq!(drawn, draw());
        assert!(drawn.iter().all(|one| !one.svg.contains("<text")));
    }
    let caption = |models| {
        let svg = figure::<Maps>(models)
            .draw(Caption::default())
            .expect("drawn")
            .svg;
        svg.contains("latents look at characters")
    };
    assert!(caption(vec![latents]) && !caption(vec![signed]));
}

#[test]
fn the_numbers_at_the_scale_are_those_of_their_places() {
    let labels = |weights: [f32; 2]| {
        let scale = Scale::of(weights.into_iter());
        scale::NUMBERS.map(|share| scale.label(share))
    };
    assert_eq!(labels([0.5, 0.1]), ["0", "0.01", "0.1", "0.25", "0.5", "1"]);
    assert_eq!(labels([1.3, -0.4]), ["0", "0.02", "0.2", "0.5", "1", "2"]);
    assert_eq!(
        labels([0.1, -4.2]),
        ["0", "0.05", "0.5", "1.25", "2.5", "5"]
    );
}

#[test]
fn heads_with_latents_are_not_counted_by_characters() {
    let mut one = model("a", TEXT, [2, 2]);
    let later = one.rows.iter_mut().filter(|row| row.layer == 2);
    later.for_each(|row| row.key_character = None);
    let told = finding(&Seen::of(&one.rows)).expect("the first layer");
    assert!(told.contains(" of 2 heads"), "{told}");
    one.rows.retain(|row| row.layer == 2);
    assert_eq!(finding(&Seen::of(&one.rows)), None);
    let both = figure::<Maps>(vec![model("plain", TEXT, [1, 1]), one]);
    let told = both.latents(&both.seen()).expect("a note");
    assert!(
        told.starts_with("In the first layer of a latents look"),
        "{told}"
    );
}

#[test]
fn a_nan_weight_is_never_the_largest() {
    let mut one = model("a", TEXT, [1, 1]);
    one.rows[0].weight = f32::NAN;
    assert_eq!(Seen::of(&one.rows).heads[&(1, 1)].largest(0), None);
}

#[test]
fn larger_weights_are_darker_and_negative_ones_of_another_colour() {
    let scale = Scale::of([0.5, -0.25].into_iter());
    let light = |weight: f32| {
        let (red, green, blue) = Scale::ink(scale.level(weight)).rgb;
        u32::from(red) + u32::from(green) + u32::from(blue)
    };
    let weights = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0];
    for pair in weights.windows(2) {
        assert!(light(pair[0]) > light(pair[1]), "{pair:?}");
        assert!(light(-pair[0]) > light(-pair[1]), "{pair:?} below 0");
    }
    assert_eq!(scale.level(0.0), 0);
    assert_eq!(scale.level(-1.0), -scale.level(1.0));
    assert_eq!(scale.level(f32::NAN), 0);
    let (red, _, blue) = Scale::ink(scale.level(-0.3)).rgb;
    assert!(red > blue, "orange");
}
