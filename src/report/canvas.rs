//! A drawing surface: the few shapes that charts are made of, kept in a list, then painted as SVG or as pixels.
//!
//! One unit is half a nominal pixel, the resolution of a PNG: plotters rounds positions to whole units, and a curve
//! rounded to whole pixels would show stairs.

use std::fmt::Display;

use notosans::REGULAR_TTF;
use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, DashedPathElement, PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{register_font, FontStyle, FontTransform, IntoFont, RGBColor as Color, ShapeStyle, TextStyle};

use crate::error::{Error, Result};
use crate::metrics::image::encode_png;

const WIDTH: u32 = 1800;
/// A PNG is painted so many times as large, then averaged: plotters smooths no thick lines.
const OVERSAMPLING: u32 = 2;
/// The family's generic name, which every browser has, and under which the font for PNGs is registered.
const FAMILY: &str = "sans-serif";

/// What plotters paints on, and what it takes to see the same there.
#[derive(Clone, Copy, Debug)]
struct Medium {
    /// How many times as large everything is.
    scale: f64,
    /// How many times as large texts are asked for.
    text: f64,
    /// By how much of its size a text is asked for lower.
    lowered: f64,
    /// Whether a line is painted piece by piece: as a whole, plotters leaves holes in it where it covers itself.
    pieces: bool,
}

const SVG: Medium = Medium { scale: 1.0, text: 1.0, lowered: 0.0, pieces: false };
/// Of a size s, plotters makes an em of s / 1.24 in an SVG and of s / 1.362, the font's own height, on pixels; it sets
/// the base line 0.22 s below the middle in an SVG, half an x height, and 0.11 s on pixels.
const PIXELS: Medium = Medium { scale: OVERSAMPLING as f64, text: 1.362 / 1.24, lowered: 0.11, pieces: true };

/// Almost black: text.
pub(super) const INK: Color = Color(38, 38, 38);
/// Frames, marks of no series, cells without a number.
pub(super) const GREY: Color = Color(150, 150, 150);
/// The grid.
pub(super) const FAINT: Color = Color(228, 228, 228);

/// Half-way from `color` to white.
pub(super) fn pale(color: Color) -> Color {
    let half = |value: u8| value.midpoint(255);
    Color(half(color.0), half(color.1), half(color.2))
}

/// A part of the canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Rect {
    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    /// The x of a fraction of the width.
    pub(super) fn x(&self, at: f64) -> f64 {
        self.left + at * self.width()
    }

    /// The y of a fraction of the height, which counts from the bottom.
    pub(super) fn y(&self, at: f64) -> f64 {
        self.bottom - at * (self.bottom - self.top)
    }
}

/// Which point of a text is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The middle of its left side.
    Left,
    /// Its middle.
    Centre,
    /// The middle of its right side.
    Right,
    /// Its middle; the text runs upwards.
    Upwards,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stroke {
    pub(super) color: Color,
    pub(super) width: f64,
    pub(super) dashed: bool,
}

#[derive(Clone, Debug)]
enum Shape {
    Path { points: Vec<(f64, f64)>, stroke: Stroke },
    Dot { at: (f64, f64), radius: f64, color: Color },
    Box { rect: Rect, color: Color },
    Text { at: (f64, f64), text: String, size: f64, color: Color, anchor: Anchor },
}

/// The shapes, in the order in which they cover each other.
#[derive(Debug)]
pub(super) struct Canvas {
    shapes: Vec<Shape>,
    height: u32,
}

impl Canvas {
    pub(super) fn new() -> Result<Self> {
        register_font(FAMILY, FontStyle::Normal, REGULAR_TTF)
            .map_err(|_| Error::failed("the font inside this program cannot be read"))?;
        Ok(Self { shapes: Vec::new(), height: 1 })
    }

    pub(super) fn width(&self) -> f64 {
        f64::from(WIDTH)
    }

    pub(super) fn set_height(&mut self, height: f64) {
        self.height = height.round().max(1.0) as u32;
    }

    pub(super) fn line(&mut self, points: Vec<(f64, f64)>, stroke: Stroke) {
        self.shapes.push(Shape::Path { points, stroke });
    }

    pub(super) fn dot(&mut self, at: (f64, f64), radius: f64, color: Color) {
        self.shapes.push(Shape::Dot { at, radius, color });
    }

    pub(super) fn fill(&mut self, rect: Rect, color: Color) {
        self.shapes.push(Shape::Box { rect, color });
    }

    /// The four sides of a rectangle.
    pub(super) fn outline(&mut self, rect: Rect, stroke: Stroke) {
        let Rect { left, top, right, bottom } = rect;
        self.line(vec![(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], stroke);
    }

    pub(super) fn text(&mut self, at: (f64, f64), text: impl Into<String>, size: f64, color: Color, anchor: Anchor) {
        self.shapes.push(Shape::Text { at, text: text.into(), size, color, anchor });
    }

    /// The width of a text; a little more than ours takes, as readers of an SVG have other fonts.
    pub(super) fn text_width(&self, text: &str, size: f64) -> f64 {
        let measured = (FAMILY, size * PIXELS.text).into_font().box_size(text).map(|(width, _)| f64::from(width));
        1.08 * measured.unwrap_or(0.5 * size * text.chars().count() as f64)
    }

    /// The text, or its beginning and end around an ellipsis if it is wider than `width`.
    pub(super) fn fit(&self, text: &str, size: f64, width: f64) -> String {
        let letters: Vec<char> = text.chars().collect();
        let shortened = |kept: usize| {
            let head = letters[..kept.div_ceil(2)].iter();
            head.chain(['…'].iter()).chain(letters[letters.len() - kept / 2..].iter()).collect::<String>()
        };
        if self.text_width(text, size) <= width {
            return text.into();
        }
        let fits = |kept: &usize| self.text_width(&shortened(*kept), size) <= width;
        // No letter is narrower than a tenth of its height.
        let most = letters.len().saturating_sub(1).min((width / (0.1 * size)) as usize);
        shortened((0..=most).rev().find(fits).unwrap_or(0))
    }

    pub(super) fn to_svg(&self) -> Result<String> {
        let mut text = String::new();
        self.paint(SVGBackend::with_string(&mut text, (WIDTH, self.height)), SVG)?;
        // Nominal pixels outside, units inside.
        let size = |scale: u32| format!("width=\"{}\" height=\"{}\"", WIDTH / scale, self.height / scale);
        Ok(text.replacen(&size(1), &size(2), 1))
    }

    pub(super) fn to_png(&self) -> Result<Vec<u8>> {
        let (width, height) = (WIDTH * OVERSAMPLING, self.height * OVERSAMPLING);
        let mut pixels = vec![0; width as usize * height as usize * 3];
        self.paint(BitMapBackend::with_buffer(&mut pixels, (width, height)), PIXELS)?;
        let pixels = averaged(&pixels, width as usize, OVERSAMPLING as usize);
        encode_png(WIDTH, self.height, &pixels).map_err(failed)
    }

    fn paint<B: DrawingBackend>(&self, backend: B, medium: Medium) -> Result<()> {
        let area = backend.into_drawing_area();
        area.fill(&Color(255, 255, 255)).map_err(failed)?;
        self.shapes.iter().try_for_each(|shape| shape.paint(&area, medium))?;
        area.present().map_err(failed)
    }
}

impl Shape {
    fn paint<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, medium: Medium) -> Result<()> {
        let whole = |length: f64| (length * medium.scale).round() as i32;
        let place = |at: (f64, f64)| (whole(at.0), whole(at.1));
        match self {
            Self::Path { points, stroke } => {
                let mut points: Vec<_> = points.iter().map(|at| place(*at)).collect();
                points.dedup();
                if points.len() < 2 {
                    return Ok(());
                }
                let width = whole(stroke.width).max(1);
                let style = ShapeStyle { color: stroke.color.into(), filled: false, stroke_width: width as u32 };
                if stroke.dashed {
                    area.draw(&DashedPathElement::new(points, 5 * width, 3 * width, style)).map_err(failed)
                } else if medium.pieces {
                    let joint = |at: &(i32, i32)| Circle::new(*at, width / 2, style.filled());
                    points
                        .windows(2)
                        .try_for_each(|piece| {
                            area.draw(&PathElement::new(piece, style))?;
                            area.draw(&joint(&piece[1]))
                        })
                        .map_err(failed)
                } else {
                    area.draw(&PathElement::new(points, style)).map_err(failed)
                }
            }
            Self::Dot { at, radius, color } => {
                area.draw(&Circle::new(place(*at), whole(*radius), ShapeStyle::from(color).filled())).map_err(failed)
            }
            Self::Box { rect, color } => {
                let corners = [place((rect.left, rect.top)), place((rect.right, rect.bottom))];
                area.draw(&Rectangle::new(corners, ShapeStyle::from(color).filled())).map_err(failed)
            }
            Self::Text { at, text, size, color, anchor } => {
                let horizontal = match anchor {
                    Anchor::Left => HPos::Left,
                    Anchor::Centre | Anchor::Upwards => HPos::Center,
                    Anchor::Right => HPos::Right,
                };
                let font = (FAMILY, size * medium.text * medium.scale).into_font();
                let (font, at) = match anchor {
                    Anchor::Upwards => (font.transform(FontTransform::Rotate270), (at.0 + medium.lowered * size, at.1)),
                    _ => (font, (at.0, at.1 + medium.lowered * size)),
                };
                let style = TextStyle::from(font).color(color).pos(Pos::new(horizontal, VPos::Center));
                area.draw(&Text::new(text.as_str(), place(at), style)).map_err(failed)
            }
        }
    }
}

fn failed(error: impl Display) -> Error {
    Error::failed(format!("cannot draw a picture: {error}"))
}

/// Each pixel the mean of a square of `factor` by `factor` of `width` pixels a row, three bytes a pixel.
fn averaged(pixels: &[u8], width: usize, factor: usize) -> Vec<u8> {
    let rows = pixels.len() / (3 * width * factor);
    let mut result = Vec::with_capacity(pixels.len() / (factor * factor));
    for row in 0..rows {
        for column in 0..width / factor {
            for color in 0..3 {
                let sum: usize = (0..factor * factor)
                    .map(|at| (row * factor + at / factor) * width + column * factor + at % factor)
                    .map(|pixel| usize::from(pixels[3 * pixel + color]))
                    .sum();
                result.push((sum / (factor * factor)) as u8);
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_averaged_by_squares() {
        // Two rows of four pixels; each square of two by two has one pixel of (40, 80, 120) and three black ones.
        let (black, color) = ([0, 0, 0], [40, 80, 120]);
        let pixels = [black, color, black, black, black, black, color, black].concat();
        assert_eq!(averaged(&pixels, 4, 2), [10, 20, 30, 10, 20, 30]);
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        let canvas = Canvas::new().unwrap();
        assert_eq!(canvas.fit("short", 20.0, 200.0), "short");
        let fitted = canvas.fit(&"abcdefghij".repeat(1000), 20.0, 200.0);
        assert!(fitted.starts_with("abc") && fitted.contains('…') && fitted.ends_with("hij"), "{fitted}");
        assert!(canvas.text_width(&fitted, 20.0) <= 200.0);
        assert_eq!(canvas.fit("short", 20.0, 0.0), "…");
    }
}
