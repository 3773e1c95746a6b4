//! What a kernel that lays out the windows of a convolution is told.

use std::ops::Range;

/// Rows of a convolution's output, and the windows of the image that their pixels are computed from. Pairs are height and width.
#[derive(Debug, Clone)]
pub struct Windows {
    /// Size of a window.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Zeros above and to the left of the image. What is below and to the right follows from the output's size.
    pub padding: [usize; 2],
    /// Rows of the output.
    pub rows: Range<usize>,
    /// Width of the output.
    pub columns: usize,
}

impl Windows {
    /// `[batch, values of a window, pixels]` for an image `[batch, c_in, h, w]`.
    pub fn shape(&self, [batch, c_in, ..]: [usize; 4]) -> [usize; 3] {
        let [kernel_h, kernel_w] = self.kernel;
        [batch, c_in * kernel_h * kernel_w, self.rows.len() * self.columns]
    }
}
