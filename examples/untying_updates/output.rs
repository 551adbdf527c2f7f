//! Tables, files and the picture.

use std::fs;
use std::path::Path;

use untie::error::{Error, Result};
use untie::report::chart::{Lines, Mark, Scale, Series};
use untie::report::figure::{Figure, Panel};

use crate::{Curves, Norms, LAYERS, LEARNING_RATE, SHOWN, UNTIED};

/// Updates after which losses and norms are in the long table.
const LONG: [i64; 9] = [0, 1, 2, 5, 10, 20, 40, 100, 200];

fn mean(norms: &[f64]) -> f64 {
    norms.iter().sum::<f64>() / norms.len() as f64
}

fn smallest_and_largest(norms: &[f64]) -> (f64, f64) {
    norms.iter().fold((f64::INFINITY, 0.0), |(least, most), &norm| (norm.min(least), norm.max(most)))
}

fn row(cells: impl IntoIterator<Item = String>) {
    println!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "));
}

fn head(cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    let rule = vec!["---".to_owned(); cells.len()];
    row(cells);
    row(rule);
}

/// Largest relative difference between the product's and the reference's norms.
fn furthest(curves: &Curves) -> f64 {
    let pairs = curves.reference.iter().flat_map(|(update, norms)| norms.iter().zip(&curves.product[update]));
    pairs.map(|(expected, got)| (got / expected - 1.0).abs()).fold(0.0, f64::max)
}

/// The loss after `update`.
fn loss_after(curves: &Curves, update: i64) -> f64 {
    curves.losses.iter().find(|(at, _)| *at == update).map_or(f64::NAN, |(_, loss)| *loss)
}

/// Markdown on stdout.
pub fn print(all: &[Curves], tied: u64) {
    println!("{LAYERS} layers, {tied} tied updates, then {UNTIED} untied ones; learning rate {LEARNING_RATE}.\n");
    println!("Norm of the update of a layer, mean over the layers (smallest to largest):\n");
    head(["update after untying".to_owned()].into_iter().chain(all.iter().map(|curves| curves.name.to_owned())));
    for update in SHOWN {
        let cell = |curves: &Curves| {
            let norms = &curves.product[&update];
            let (least, most) = smallest_and_largest(norms);
            if update > 0 {
                format!("{:.4} ({least:.4} to {most:.4})", mean(norms))
            } else {
                format!("{:.4}", mean(norms))
            }
        };
        row([update.to_string()].into_iter().chain(all.iter().map(cell)));
    }
    let cell = |curves: &Curves| format!("{:.1e}", furthest(curves));
    row(["reference off by, at most".to_owned()].into_iter().chain(all.iter().map(cell)));
    println!("\nHeld-out loss after an update, and the mean norm of that update:\n");
    head(["update after untying".to_owned()].into_iter().chain(all.iter().map(|curves| curves.name.to_owned())));
    for update in LONG {
        let cell =
            |curves: &Curves| format!("{:.4}, {:.4}", loss_after(curves, update), mean(&curves.product[&update]));
        row([update.to_string()].into_iter().chain(all.iter().map(cell)));
    }
    for curves in all {
        println!("\n{}, every layer:\n", curves.name);
        head(["update".to_owned()].into_iter().chain((0..LAYERS).map(|layer| layer.to_string())));
        for update in SHOWN {
            let norms = curves.product[&update].iter().map(|norm| format!("{norm:.4}"));
            row([update.to_string()].into_iter().chain(norms));
        }
    }
}

/// `updates.csv`, `losses.csv` and the picture.
pub fn write(all: &[Curves], folder: &Path) -> Result<()> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| Error::failed(format!("cannot write {}: {error}", path.display())))
    };
    let mut updates = "variant,side,update,layer,norm\n".to_owned();
    let mut losses = "variant,update,held_out_loss\n".to_owned();
    for curves in all {
        for (side, found) in [("product", &curves.product), ("reference", &curves.reference)] {
            for (update, norms) in found {
                for (layer, norm) in norms.iter().enumerate() {
                    updates += &format!("\"{}\",{side},{update},{layer},{norm:e}\n", curves.name);
                }
            }
        }
        for (update, loss) in &curves.losses {
            losses += &format!("\"{}\",{update},{loss}\n", curves.name);
        }
    }
    write("updates.csv", updates)?;
    write("losses.csv", losses)?;
    let figure = figure(all);
    for format in ["svg", "png"] {
        figure.write(&folder.join(format!("untying-updates.{format}")))?;
    }
    Ok(())
}

/// Norms around untying with the references over them, norms to the end, and losses.
fn figure(all: &[Curves]) -> Figure {
    let norms = |name: &str, norms: &Norms, last: i64, dashed| Series {
        name: name.to_owned(),
        points: norms.range(..=last).map(|(&update, norms)| (update as f64, mean(norms))).collect(),
        dashed,
    };
    let panel = |title: &str, y_label: &str, y_scale, series: Vec<Series>| {
        Panel::Lines(Lines {
            title: title.to_owned(),
            x_label: "update after untying".to_owned(),
            y_label: y_label.to_owned(),
            y_scale,
            series,
            marks: vec![Mark { x: 0.5, label: "untied".to_owned(), series: None }],
            ..Lines::default()
        })
    };
    let last = *SHOWN.end();
    let near = all.iter().map(|curves| norms(curves.name, &curves.product, last, false));
    let near = near.chain(all.iter().map(|curves| norms("literal reference", &curves.reference, last, true)));
    let far = all.iter().map(|curves| norms(curves.name, &curves.product, UNTIED as i64, false));
    let losses = all.iter().map(|curves| Series {
        name: curves.name.to_owned(),
        points: curves
            .losses
            .iter()
            .map(|&(update, loss)| (update as f64, loss))
            .filter(|&(at, _)| at >= -60.0)
            .collect(),
        dashed: false,
    });
    let norm = "norm of a layer's update, mean of layers";
    Figure {
        panels: vec![
            panel("The first updates after untying", norm, Scale::Log, near.collect()),
            panel("The same, further on", norm, Scale::Log, far.collect()),
            panel("Held-out loss", "nats", Scale::Linear, losses.collect()),
        ],
    }
}
