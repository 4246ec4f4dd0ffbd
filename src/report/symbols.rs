//! Characters that LaTeX sets as mathematics, with `amssymb`.

/// Greek letters, operators, relations, arrows and other symbols.
#[rustfmt::skip]
const SYMBOLS: &[(char, &str)] = &[
    // Greek. Capitals that look like Latin letters have no commands.
    ('α', "\\alpha"), ('β', "\\beta"), ('γ', "\\gamma"), ('δ', "\\delta"), ('ε', "\\varepsilon"),
    ('ζ', "\\zeta"), ('η', "\\eta"), ('θ', "\\theta"), ('ι', "\\iota"), ('κ', "\\kappa"),
    ('λ', "\\lambda"), ('μ', "\\mu"), ('ν', "\\nu"), ('ξ', "\\xi"), ('ο', "o"), ('π', "\\pi"),
    ('ρ', "\\rho"), ('ς', "\\varsigma"), ('σ', "\\sigma"), ('τ', "\\tau"), ('υ', "\\upsilon"),
    ('φ', "\\varphi"), ('χ', "\\chi"), ('ψ', "\\psi"), ('ω', "\\omega"),
    ('ϵ', "\\epsilon"), ('ϑ', "\\vartheta"), ('ϰ', "\\varkappa"), ('ϕ', "\\phi"), ('ϱ', "\\varrho"),
    ('ϖ', "\\varpi"),
    ('Α', "\\mathrm{A}"), ('Β', "\\mathrm{B}"), ('Γ', "\\Gamma"), ('Δ', "\\Delta"), ('Ε', "\\mathrm{E}"),
    ('Ζ', "\\mathrm{Z}"), ('Η', "\\mathrm{H}"), ('Θ', "\\Theta"), ('Ι', "\\mathrm{I}"),
    ('Κ', "\\mathrm{K}"), ('Λ', "\\Lambda"), ('Μ', "\\mathrm{M}"), ('Ν', "\\mathrm{N}"), ('Ξ', "\\Xi"),
    ('Ο', "\\mathrm{O}"), ('Π', "\\Pi"), ('Ρ', "\\mathrm{P}"), ('Σ', "\\Sigma"), ('Τ', "\\mathrm{T}"),
    ('Υ', "\\Upsilon"), ('Φ', "\\Phi"), ('Χ', "\\mathrm{X}"), ('Ψ', "\\Psi"), ('Ω', "\\Omega"),
    // The same letters under other names: increment and ohm.
    ('\u{2206}', "\\Delta"), ('\u{2126}', "\\Omega"),
    // Other letters.
    ('ℓ', "\\ell"), ('ℏ', "\\hbar"), ('℘', "\\wp"), ('ℑ', "\\Im"), ('ℜ', "\\Re"), ('ℵ', "\\aleph"),
    ('ℂ', "\\mathbb{C}"), ('ℍ', "\\mathbb{H}"), ('ℕ', "\\mathbb{N}"), ('ℙ', "\\mathbb{P}"),
    ('ℚ', "\\mathbb{Q}"), ('ℝ', "\\mathbb{R}"), ('ℤ', "\\mathbb{Z}"), ('𝔻', "\\mathbb{D}"),
    ('𝔼', "\\mathbb{E}"), ('𝕀', "\\mathbb{I}"), ('𝕍', "\\mathbb{V}"), ('ℬ', "\\mathcal{B}"),
    ('ℰ', "\\mathcal{E}"), ('ℱ', "\\mathcal{F}"), ('ℋ', "\\mathcal{H}"), ('ℐ', "\\mathcal{I}"),
    ('ℒ', "\\mathcal{L}"), ('ℳ', "\\mathcal{M}"), ('ℛ', "\\mathcal{R}"), ('𝒟', "\\mathcal{D}"),
    ('𝒩', "\\mathcal{N}"), ('𝒪', "\\mathcal{O}"), ('𝒰', "\\mathcal{U}"), ('𝒳', "\\mathcal{X}"),
    ('𝒴', "\\mathcal{Y}"),
    // Operators.
    ('−', "-"), ('∓', "\\mp"), ('∗', "\\ast"), ('⋆', "\\star"), ('∘', "\\circ"), ('∙', "\\bullet"),
    ('⋅', "\\cdot"), ('⊕', "\\oplus"), ('⊖', "\\ominus"), ('⊗', "\\otimes"), ('⊙', "\\odot"),
    ('∧', "\\wedge"), ('∨', "\\vee"), ('∩', "\\cap"), ('∪', "\\cup"), ('∖', "\\setminus"),
    ('√', "\\surd"), ('∛', "\\sqrt[3]{}"), ('∑', "\\sum"), ('∏', "\\prod"), ('∫', "\\int"),
    ('∂', "\\partial"), ('∇', "\\nabla"), ('∀', "\\forall"), ('∃', "\\exists"), ('∄', "\\nexists"),
    ('∅', "\\emptyset"), ('∞', "\\infty"), ('∠', "\\angle"), ('∴', "\\therefore"), ('∵', "\\because"),
    ('⊤', "\\top"), ('⊥', "\\bot"), ('′', "{}'"), ('″', "{}''"), ('‴', "{}'''"),
    // Relations.
    ('≤', "\\le"), ('≥', "\\ge"), ('⩽', "\\leqslant"), ('⩾', "\\geqslant"), ('≪', "\\ll"), ('≫', "\\gg"),
    ('≲', "\\lesssim"), ('≳', "\\gtrsim"), ('≠', "\\ne"), ('≡', "\\equiv"), ('≢', "\\not\\equiv"),
    ('≈', "\\approx"), ('≉', "\\not\\approx"), ('≃', "\\simeq"), ('≅', "\\cong"), ('∼', "\\sim"),
    ('≁', "\\nsim"), ('≺', "\\prec"), ('≻', "\\succ"), ('∝', "\\propto"), ('≔', "\\mathrel{:=}"),
    ('≜', "\\triangleq"), ('∈', "\\in"), ('∉', "\\notin"), ('∋', "\\ni"), ('⊂', "\\subset"),
    ('⊃', "\\supset"), ('⊆', "\\subseteq"), ('⊇', "\\supseteq"), ('⊊', "\\subsetneq"), ('∣', "\\mid"),
    ('∤', "\\nmid"), ('∥', "\\parallel"), ('⊢', "\\vdash"), ('⊨', "\\models"),
    // Arrows.
    ('←', "\\leftarrow"), ('→', "\\rightarrow"), ('↑', "\\uparrow"), ('↓', "\\downarrow"),
    ('↔', "\\leftrightarrow"), ('↕', "\\updownarrow"), ('↖', "\\nwarrow"), ('↗', "\\nearrow"),
    ('↘', "\\searrow"), ('↙', "\\swarrow"), ('↦', "\\mapsto"), ('↪', "\\hookrightarrow"),
    ('↺', "\\circlearrowleft"), ('↻', "\\circlearrowright"), ('⇐', "\\Leftarrow"),
    ('⇒', "\\Rightarrow"), ('⇑', "\\Uparrow"), ('⇓', "\\Downarrow"), ('⇔', "\\Leftrightarrow"),
    ('⇌', "\\rightleftharpoons"), ('⟵', "\\longleftarrow"), ('⟶', "\\longrightarrow"),
    ('⟹', "\\Longrightarrow"), ('⟺', "\\iff"), ('⟼', "\\longmapsto"),
    // Brackets and dots.
    ('⌈', "\\lceil"), ('⌉', "\\rceil"), ('⌊', "\\lfloor"), ('⌋', "\\rfloor"), ('⟨', "\\langle"),
    ('⟩', "\\rangle"), ('‖', "\\Vert"), ('⋮', "\\vdots"), ('⋯', "\\cdots"), ('⋱', "\\ddots"),
    // Shapes, as used in tables of ablations.
    ('✓', "\\checkmark"), ('✗', "\\mathsf{x}"), ('★', "\\bigstar"), ('■', "\\blacksquare"),
    ('▲', "\\blacktriangle"), ('▼', "\\blacktriangledown"), ('△', "\\triangle"),
    ('▽', "\\triangledown"), ('▶', "\\blacktriangleright"), ('◀', "\\blacktriangleleft"),
    ('◆', "\\blacklozenge"), ('◇', "\\Diamond"), ('○', "\\bigcirc"), ('♠', "\\spadesuit"),
    ('♡', "\\heartsuit"), ('♢', "\\diamondsuit"), ('♣', "\\clubsuit"), ('♯', "\\sharp"),
    ('♭', "\\flat"), ('♮', "\\natural"),
    // Fractions.
    ('⅓', "\\frac13"), ('⅔', "\\frac23"), ('⅕', "\\frac15"), ('⅖', "\\frac25"), ('⅗', "\\frac35"),
    ('⅘', "\\frac45"), ('⅙', "\\frac16"), ('⅚', "\\frac56"), ('⅛', "\\frac18"), ('⅜', "\\frac38"),
    ('⅝', "\\frac58"), ('⅞', "\\frac78"),
];

/// Superscripts, and the characters they raise, by position. ¹, ² and ³ are ordinary text.
const SUPERSCRIPTS: (&str, &str) = (
    "⁰ⁱ⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿᵃᵇᶜᵈᵉᶠᵍʰʲᵏˡᵐᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂ",
    "0i456789+-=()nabcdefghjklmoprstuvwxyzABDEGHIJKLMNOPRTUVW",
);

/// Subscripts, and the characters they lower, by position.
const SUBSCRIPTS: (&str, &str) = (
    "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ",
    "0123456789+-=()aehijklmnoprstuvx",
);

/// A character as mathematics, without dollars; `None` if it is not mathematical.
pub(super) fn mathematics(c: char) -> Option<String> {
    let symbol = || {
        let (_, latex) = SYMBOLS.iter().find(|(symbol, _)| *symbol == c)?;
        Some((*latex).to_owned())
    };
    let script = |(from, to): (&str, &str), mark: char| {
        let at = from.chars().position(|script| script == c)?;
        Some(format!("{mark}{}", to.chars().nth(at)?))
    };
    symbol()
        .or_else(|| script(SUPERSCRIPTS, '^'))
        .or_else(|| script(SUBSCRIPTS, '_'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every mathematical character.
    pub fn all() -> impl Iterator<Item = char> {
        let scripts = SUPERSCRIPTS.0.chars().chain(SUBSCRIPTS.0.chars());
        SYMBOLS.iter().map(|(symbol, _)| *symbol).chain(scripts)
    }

    #[test]
    fn every_script_has_its_counterpart_and_no_character_stands_twice() {
        for (from, to) in [SUPERSCRIPTS, SUBSCRIPTS] {
            assert_eq!(from.chars().count(), to.chars().count(), "{from}");
        }
        let mut seen = std::collections::BTreeSet::new();
        assert!(all().all(|c| seen.insert(c)), "twice");
        let latex = "α₁ⁿ".chars().map(mathematics);
        let expected = ["\\alpha", "_1", "^n"].map(|latex| Some(latex.to_owned()));
        assert!(latex.eq(expected));
        assert_eq!(mathematics('a'), None);
    }
}
