//! Texts that are not TOML 1.0.

use super::{golden, problems_of};

#[test]
fn each_mistake_is_reported_once_with_its_place_and_what_to_do() {
    let text = |text: &str| {
        let problems = problems_of(text);
        assert!(
            problems.contains("experiments/x.toml:"),
            "{text:?}: {problems}"
        );
        (format!("{text:?}"), problems)
    };
    let cases = [
        "learning_rate = 1e400\n",
        "epochs = 99999999999999999999\n",
        "epochs = null\n",
        "epochs = None\n",
        "device = cpu\n",
        "ask_model = True\n",
        "ask_model = no\n",
        "[m]\nattention = {\n  kind = \"rope\",\n}\n",
        "attention = { kind = \"rope\", }\n",
        "epochs\u{a0}= 15\n",
        "\u{a0}epochs = 15\n",
        "epochs =\u{a0}15\n",
        "epochs\u{200b} = 15\n",
        "device = \u{201c}cpu\u{201d}\n",
        "\u{201c}pretrain.epochs\u{201d} = [1]\n",
        "a = \u{2212}1\n",
        "a = 1e\u{2013}3\n",
        "a \u{ff1d} 1\n",
        "a = 0X1F\n",
        "a = 01\n",
        "a = 1,000\n",
        "a = 1,\n",
        "a = .5\n",
        "a = 5.\n",
        "a = NaN\n",
        "a = -Inf\n",
        "a = \"x\u{1}y\"\n",
        "a = 1\rb = 2\n",
        "a = 1\na = 2\n",
        "[a]\nx = 1\n[b]\n[a]\n",
        "a = 1\na.b = 2\n",
        "a: 1\n",
        "a =\nb = 1\n",
        "a\n",
        "a = \"x\nb = 1\n",
        "a = \"C:\\weights\\x\"\n",
        "a = \"\\e\"\n",
        "a = 5k\n",
        "a = 1/3\n",
        "a = 1 b = 2\n",
        "a = 2024-1-1\n",
        "a = 07:30\n",
        "a = [1 2]\n",
        "a = [1,\n",
        "x = = 1\n[b\nc = 'x\n",
    ];
    golden::check("config_syntax", &golden::sections(cases.map(text)));
}
