//! LaTeX commands that say how an answer looks and not what it is.

/// Whether a command only places, sizes or emphasises what stands behind it; its braces are then only braces.
pub(super) fn is_silent(name: &str) -> bool {
    is_size(name)
        || is_font(name)
        || matches!(
            name,
            "left" | "right" | "mleft" | "mright" | "middle" | "limits" | "nolimits" | "quad" | "qquad"
        )
        || is_space(name)
        || matches!(
            name,
            "hfill" | "hline" | "allowbreak" | "nobreak" | "nonumber" | "notag" | "strut" | "mathstrut"
        )
        || matches!(
            name,
            "centering" | "noindent" | "cr" | "newline" | "linebreak" | "null" | "relax"
        )
        || matches!(
            name,
            "pounds"
                | "euro"
                | "yen"
                | "cent"
                | "boxed"
                | "fbox"
                | "framebox"
                | "underline"
                | "smash"
                | "ensuremath"
                | "mathop"
        )
        || matches!(name, "mathbin" | "mathord" | "mathrel" | "mathopen" | "mathclose")
        || matches!(name, "mathpunct" | "mathinner")
}

fn is_size(name: &str) -> bool {
    let bracket = matches!(
        name.trim_end_matches(['l', 'r', 'm']),
        "big" | "Big" | "bigg" | "Bigg"
    );
    bracket
        || matches!(
            name,
            "tiny" | "small" | "large" | "Large" | "LARGE" | "huge" | "Huge" | "normalsize"
        )
        || matches!(
            name,
            "scriptsize" | "footnotesize" | "displaystyle" | "textstyle" | "scriptstyle"
        )
        || name == "scriptscriptstyle"
}

fn is_font(name: &str) -> bool {
    matches!(
        name,
        "rm" | "bf" | "it" | "sf" | "tt" | "sl" | "sc" | "em" | "mit" | "cal"
    ) || matches!(
        name,
        "bfseries" | "itshape" | "boldmath" | "mathbf" | "boldsymbol" | "mathit" | "mathcal"
    ) || matches!(name, "mathfrak" | "mathscr" | "mathtt" | "bm" | "pmb")
}

/// Whether a command is a space so small that it may part the thousands of a number.
pub(super) fn is_space(name: &str) -> bool {
    matches!(
        name,
        "thinspace" | "medspace" | "thickspace" | "enspace" | "negthinspace" | "space" | "nobreakspace"
    )
}

/// How many groups behind a command are no part of the answer: colours, widths, the mark of a line.
pub(super) fn dropped_groups(name: &str) -> Option<usize> {
    Some(match name {
        "color" | "textcolor" | "colorbox" | "hspace" | "vspace" | "phantom" | "hphantom" | "vphantom" => 1,
        "overset" | "underset" | "stackrel" => 1,
        "tag" | "label" | "raisebox" | "cssId" | "class" | "style" | "footnote" => 1,
        "fcolorbox" | "rule" | "fontsize" => 2,
        "definecolor" => 3,
        _ => return None,
    })
}

/// Whether a length without braces follows: `\kern 2pt`.
pub(super) fn takes_length(name: &str) -> bool {
    matches!(name, "kern" | "mkern" | "hskip" | "mskip" | "vskip")
}

/// Whether the argument is words.
pub(super) fn holds_words(name: &str) -> bool {
    matches!(name, "mbox" | "hbox" | "mathrm" | "emph" | "mathsf")
        || name.starts_with("text") && name != "textdegree"
}

/// Whether a command ends a proof or an answer and says nothing: `4 \qed`.
pub(super) fn ends_proof(name: &str) -> bool {
    matches!(
        name,
        "qed" | "qedsymbol" | "qedhere" | "square" | "Box" | "blacksquare" | "checkmark" | "lozenge"
    ) || matches!(name, "✓" | "✔" | "✅" | "□" | "■" | "∎")
}

/// Whether a command or sign draws a conclusion: `\therefore x = 4`, `2x = 8 \implies x = 4`.
pub(super) fn concludes(name: &str) -> bool {
    matches!(
        name,
        "therefore" | "because" | "implies" | "Rightarrow" | "Longrightarrow" | "⇒" | "∴" | "∵"
    )
}
