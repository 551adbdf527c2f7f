//! Pictures: of matrices, for TensorBoard; and pixels as a PNG file, for whoever has some.

use std::io;

/// An encoded picture.
#[derive(Debug)]
pub(super) struct Image {
    /// Both sides, in pixels.
    pub(super) side: u32,
    /// The file's bytes.
    pub(super) png: Vec<u8>,
}

/// A picture is at least this wide, so that a cell can be seen.
const SIDE: usize = 384;

/// A square matrix of numbers in [-1, 1], row 0 on top: red for 1, white for 0, blue for -1, grey for what is no number.
pub(super) fn matrix_image(values: &[f64]) -> io::Result<Image> {
    let rows = values.len().isqrt();
    let cell = SIDE.div_ceil(rows.max(1));
    let side = cell * rows;
    let mut pixels = Vec::with_capacity(3 * side * side);
    for row in 0..side {
        for column in 0..side {
            pixels.extend(colour(values[row / cell * rows + column / cell]));
        }
    }
    let side = u32::try_from(side).map_err(io::Error::other)?;
    Ok(Image { side, png: encode_png(side, side, &pixels)? })
}

/// A PNG file of `width` by `height` pixels, three bytes (RGB) each, row by row from the top.
///
/// # Errors
/// When the sizes do not fit the bytes.
pub fn encode_png(width: u32, height: u32, pixels: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(bytes)
}

fn colour(value: f64) -> [u8; 3] {
    const ENDS: [[f64; 3]; 2] = [[33.0, 102.0, 172.0], [178.0, 24.0, 43.0]];
    if value.is_nan() {
        return [128; 3];
    }
    let end = ENDS[usize::from(value > 0.0)];
    end.map(|part| (255.0 + (part - 255.0) * value.abs().min(1.0)).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_colours_of_their_values() {
        let image = matrix_image(&[1.0, 0.0, -1.0, f64::NAN]).unwrap();
        assert_eq!(image.side, 384);
        let mut reader = png::Decoder::new(io::Cursor::new(image.png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (384, 384));
        let at = |row: usize, column: usize| &pixels[3 * (row * 384 + column)..][..3];
        assert_eq!([at(0, 0), at(191, 191)], [[178, 24, 43]; 2]);
        assert_eq!([at(0, 192), at(192, 0), at(383, 383)], [[255; 3], [33, 102, 172], [128; 3]]);
    }
}
