//! LaTeX with booktabs: a `table*` with its notes below.

use super::super::assemble::Table;
use super::lines::{caption, heads, pair, title, Text};

/// `\usepackage{booktabs}` is all that it needs; the notes' numbers are superscripts.
pub(super) fn text(table: &Table) -> String {
    let heads = heads(table);
    let aligned: String = heads.iter().map(|(_, right)| if *right { 'r' } else { 'l' }).collect();
    let mut text = format!(
        "% \\usepackage{{booktabs}}\n\\begin{{table*}}\n\\centering\\scriptsize\\setlength{{\\tabcolsep}}{{3pt}}\n\
         \\caption{{{}. {}}}\n\\begin{{tabular}}{{{aligned}}}\n\\toprule\n",
        escape(&title(table)),
        escape(&caption(table)),
    );
    let names: Vec<String> = heads.iter().map(|(name, _)| escape(name)).collect();
    text.push_str(&format!("{} \\\\\n\\midrule\n", names.join(" & ")));
    for (number, row) in table.rows.iter().enumerate() {
        if number > 0 {
            text.push_str("\\addlinespace\n");
        }
        for line in pair(table, row) {
            let cells: Vec<String> = line.into_iter().map(cell).collect();
            text.push_str(&format!("{} \\\\\n", cells.join(" & ")));
        }
    }
    text.push_str("\\bottomrule\n\\end{tabular}\n\\par\\smallskip\\raggedright\n");
    for (number, note) in (1..).zip(&table.notes) {
        text.push_str(&format!("\\textsuperscript{{{number}}}~{}\\par\n", escape(note)));
    }
    text.push_str("\\end{table*}\n");
    text
}

fn cell(text: Text) -> String {
    match text {
        Ok(text) => escape(&text),
        Err(note) => format!("---\\textsuperscript{{{}}}", note + 1),
    }
}

/// What means something to TeX, and the letters beyond ASCII that tables have.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '{' | '}' | '_' | '&' | '%' | '$' | '#' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            // Code in our messages.
            '`' => escaped.push('\''),
            '"' => escaped.push_str("''"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            'τ' => escaped.push_str("$\\tau$"),
            'ρ' => escaped.push_str("$\\rho$"),
            '×' => escaped.push_str("$\\times$"),
            '±' => escaped.push_str("$\\pm$"),
            '–' => escaped.push_str("--"),
            '—' => escaped.push_str("---"),
            '\n' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
