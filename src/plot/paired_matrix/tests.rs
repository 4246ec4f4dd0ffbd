use super::*;
use crate::plot::tests::drawn;
use crate::plot::tests::gallery::{Label, chance, skill};

/// A figure of made-up values.
pub fn made_up(points: usize, label: Label<'_>) -> Figure {
    let side = |i: usize| AnsweredSide {
        label: label(i),
        right_seeds: (0..60)
            .map(|question| usize::from(chance(question, 9) < skill(i, points)))
            .collect(),
    };
    let figure = PairedMatrix {
        sides: (0..points).map(side).collect(),
        seeds: vec![1],
    };
    drawn(&figure, "A figure of pairs")
}

/// `sides` points, each somewhat better than the one before, on `questions` questions.
fn example(sides: usize, questions: usize, seeds: &[u64]) -> PairedMatrix {
    let right = |side: usize, question: usize| {
        let ease = (question * 7_919 % questions.max(1)) as f64 / questions.max(1) as f64;
        let skill = 0.2 + 0.6 * side as f64 / sides as f64;
        let knows = |&&seed: &&u64| ease < skill + 0.04 * ((seed as f64 + side as f64) % 3.0 - 1.0);
        seeds.iter().filter(knows).count()
    };
    let side = |i: usize| AnsweredSide {
        label: format!("kind number {i}"),
        right_seeds: (0..questions).map(|q| right(i, q)).collect(),
    };
    PairedMatrix {
        sides: (0..sides).map(side).collect(),
        seeds: seeds.to_vec(),
    }
}

#[test]
fn every_pair_is_there_once_and_the_difference_is_row_minus_column() {
    let figure = example(4, 60, &[1, 2, 3]);
    let rows = figure.rows();
    assert_eq!(rows.len(), 6);
    for row in &rows {
        assert!((row.row_accuracy - row.column_accuracy - row.difference).abs() < 1e-12);
        assert!(row.p_holm >= row.p && row.p_holm <= 1.0);
    }
    assert!(
        rows.iter()
            .all(|row| row.difference > 0.0 && row.row > row.column)
    );
    assert!(rows[3].p_holm < 0.001, "{rows:?}");
}

#[test]
fn one_seed_is_mcnemars_test_and_the_caption_says_which() {
    let figure = example(2, 60, &[5]);
    assert!(
        figure
            .explained(Caption::default(), &Sheet::new(&figure))
            .finish()
            .contains("the p value of McNemar's exact test")
    );
    assert!(
        figure
            .explained(Caption::default(), &Sheet::new(&figure))
            .finish()
            .contains("n = 60 questions, seed 5.")
    );
    let several = example(3, 60, &[1, 2]);
    let several = several
        .explained(Caption::default(), &Sheet::new(&several))
        .finish();
    assert!(several.contains("sign-flip test") && several.contains("for 3 pairs"));
}

#[test]
fn extremes_are_drawn_without_a_font() {
    let mut sides = vec![
        example(10, 60, &[1, 2, 3]),
        example(1, 5, &[1]),
        example(40, 9, &[1]),
    ];
    let mut all = example(3, 20, &[1]);
    for (i, side) in all.sides.iter_mut().enumerate() {
        side.right_seeds = vec![usize::from(i == 0); 20];
        side.label = "a label that is much too long for its place, and goes on and on ".repeat(3);
    }
    sides.push(all);
    sides.push(PairedMatrix::default());
    for figure in &sides {
        let drawn = figure.draw(Caption::default()).unwrap();
        assert_eq!(drawn, figure.draw(Caption::default()).unwrap());
        assert!(!drawn.svg.contains("<text"));
    }
}

#[test]
fn small_p_values_are_not_zero_and_zero_has_no_minus_sign() {
    assert_eq!(p_value(1e-9), "<0.001");
    assert_eq!(
        (p_value(0.0123), p_value(1.0)),
        ("0.012".to_owned(), "1.00".to_owned())
    );
    assert_eq!(
        (signed(0.0), signed(-0.01), signed(5.0)),
        ("0.0".to_owned(), "0.0".to_owned(), "+5.0".to_owned())
    );
}

#[test]
fn narrow_columns_have_the_numbers_of_their_rows() {
    let sheet = |sides| Sheet::new(&example(sides, 9, &[1]));
    assert!(!sheet(20).is_numbered());
    assert_eq!(sheet(20).headings[19], "kind number 19");
    let crowd = sheet(80);
    assert!(crowd.is_numbered());
    let written = crowd.headings.iter().filter(|heading| !heading.is_empty());
    assert_eq!(written.take(2).collect::<Vec<_>>(), ["5", "10"]);
}

fn answer(question: &str, gold: Option<&str>, correct: Option<bool>) -> PredictionRow {
    PredictionRow {
        question: question.to_owned(),
        gold: gold.map(str::to_owned),
        predicted: "London".to_owned(),
        correct,
        log_probability: None,
    }
}

#[test]
fn right_answers_are_counted_over_seeds_whatever_the_order_of_questions() {
    let first = [
        answer("Ada", Some("London"), Some(true)),
        answer("Max", Some("Paris"), Some(false)),
        answer("Ada", Some("London"), Some(false)),
        answer("Eve", None, None),
    ];
    let mut second = first.clone();
    second.reverse();
    let mut right = BTreeMap::new();
    count_right(&first, &mut right);
    count_right(&second, &mut right);
    let counts: Vec<(&str, usize)> = right.iter().map(|(q, n)| (q.0.as_str(), *n)).collect();
    assert_eq!(counts, [("Ada", 2), ("Ada", 0), ("Max", 0)]);
}
