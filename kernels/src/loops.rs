//! The loops. Each does what the function of its name in `learnae/kernels.py` does, operation by operation, so that the bits are the same:
//! no product is fused with a sum, and sums are added in the order that is told there.

pub const BLOCK: usize = 64;
pub const LANES: usize = 1024;
const LEVELS: f32 = 127.0;
const CHUNK: usize = 4096;

/// Makes a function that takes the widest instructions that this processor has. What is inlined into it is compiled for each.
macro_rules! widest {
    ($name:ident, $body:path, ($($arg:ident: $kind:ty),*) $(-> $result:ty)?) => {
        pub fn $name($($arg: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                unsafe fn wide($($arg: $kind),*) $(-> $result)? { $body($($arg),*) }
                #[target_feature(enable = "avx2")]
                unsafe fn medium($($arg: $kind),*) $(-> $result)? { $body($($arg),*) }
                if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
                    return unsafe { wide($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    return unsafe { medium($($arg),*) };
                }
            }
            $body($($arg),*)
        }
    };
}

widest!(largest, plain::largest, (values: &[f32], out: &mut [f64]));
widest!(quantise, plain::quantise, (values: &[f32], scales: &[f32], out: &mut [i8]));
widest!(dequantise, plain::dequantise, (levels: &[i8], scales: &[f32], out: &mut [f32]));
widest!(squares, plain::squares, (values: &[f32]) -> f64);
widest!(squared_distance, plain::squared_distance, (one: &[f32], other: &[f32]) -> f64);
widest!(moved, plain::moved, (own: &[f32], others: &[&[f32]], weights: &[f32], out: &mut [f32]) -> bool);
widest!(is_finite, plain::is_finite, (values: &[f32]) -> bool);
widest!(step, plain::step, (start: &[f32], values: &mut [f32], momentum: &[f32], changed: &mut [f32], mu: f32, rate: f32, nesterov: bool));

mod plain {
    use super::{BLOCK, CHUNK, LANES, LEVELS};

    const SIGN: u32 = 0x7fff_ffff;
    const INFINITE: u32 = 0x7f80_0000;

    /// Without its sign a float is ordered as its bits are, and all that is not finite lies from infinity on.
    #[inline(always)]
    fn highest(values: &[f32]) -> u32 {
        values.iter().fold(0, |highest, value| highest.max(value.to_bits() & SIGN))
    }

    #[inline(always)]
    pub fn largest(values: &[f32], out: &mut [f64]) {
        for (block, room) in values.chunks(BLOCK).zip(out) {
            let bits = match <&[f32; BLOCK]>::try_from(block) {
                Ok(whole) => highest(whole),
                Err(_) => highest(block),
            };
            *room = if bits < INFINITE { f32::from_bits(bits) as f64 } else { f64::NAN };
        }
    }

    #[inline(always)]
    pub fn quantise(values: &[f32], scales: &[f32], out: &mut [i8]) {
        for ((block, &scale), room) in values.chunks(BLOCK).zip(scales).zip(out.chunks_mut(BLOCK)) {
            if !(scale > 0.0 && scale < f32::INFINITY) {
                room.fill(0);
                continue;
            }
            match (<&[f32; BLOCK]>::try_from(block), <&mut [i8; BLOCK]>::try_from(&mut *room)) {
                (Ok(block), Ok(room)) => levels(block, scale, room),
                _ => levels(block, scale, room),
            }
        }
    }

    #[inline(always)]
    fn levels(block: &[f32], scale: f32, room: &mut [i8]) {
        for (&value, level) in block.iter().zip(room) {
            let rounded = (value / scale).round_ties_even().max(-LEVELS).min(LEVELS);
            // within -127..127: `max` has made a NaN one of them
            *level = unsafe { rounded.to_int_unchecked::<i32>() } as i8;
        }
    }

    #[inline(always)]
    pub fn dequantise(levels: &[i8], scales: &[f32], out: &mut [f32]) {
        for ((block, &scale), room) in levels.chunks(BLOCK).zip(scales).zip(out.chunks_mut(BLOCK)) {
            for (&level, value) in block.iter().zip(room) {
                *value = level as f32 * scale;
            }
        }
    }

    #[inline(always)]
    fn sum(lanes: [f32; LANES]) -> f64 {
        let mut wide = [0f64; LANES];
        for (to, from) in wide.iter_mut().zip(lanes) {
            *to = from as f64;
        }
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                wide[lane] += wide[lane + half];
            }
            half /= 2;
        }
        wide[0]
    }

    #[inline(always)]
    pub fn squares(values: &[f32]) -> f64 {
        let mut lanes = [0f32; LANES];
        for row in values.chunks(LANES) {
            for (lane, &value) in lanes.iter_mut().zip(row) {
                *lane += value * value;
            }
        }
        sum(lanes)
    }

    #[inline(always)]
    pub fn squared_distance(one: &[f32], other: &[f32]) -> f64 {
        let mut lanes = [0f32; LANES];
        for (ours, theirs) in one.chunks(LANES).zip(other.chunks(LANES)) {
            for (lane, (&one, &other)) in lanes.iter_mut().zip(ours.iter().zip(theirs)) {
                let difference = other - one;
                *lane += difference * difference;
            }
        }
        sum(lanes)
    }

    #[inline(always)]
    pub fn moved(own: &[f32], others: &[&[f32]], weights: &[f32], out: &mut [f32]) -> bool {
        let mut finite = true;
        for (number, room) in out.chunks_mut(CHUNK).enumerate() {
            let here = number * CHUNK..number * CHUNK + room.len();
            let own = &own[here.clone()];
            room.copy_from_slice(own);
            for (other, &weight) in others.iter().zip(weights) {
                for ((value, &own), &other) in room.iter_mut().zip(own).zip(&other[here.clone()]) {
                    *value += (other - own) * weight;
                }
            }
            finite &= is_finite(room);
        }
        finite
    }

    #[inline(always)]
    pub fn is_finite(values: &[f32]) -> bool {
        values.chunks(CHUNK).all(|chunk| highest(chunk) < INFINITE)
    }

    #[inline(always)]
    pub fn step(start: &[f32], values: &mut [f32], momentum: &[f32], changed: &mut [f32], mu: f32, rate: f32, nesterov: bool) {
        for (((&start, value), &before), after) in start.iter().zip(values).zip(momentum).zip(changed) {
            let displacement = start - *value;
            let momentum = before * mu + displacement;
            *after = momentum;
            let way = if nesterov { displacement + mu * momentum } else { momentum };
            *value = start - way * rate;
        }
    }
}
