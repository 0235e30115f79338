use super::*;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::TensorData;
use burn::tensor::{Device, Distribution};

#[derive(Module, Debug)]
struct Stack {
    layers: Vec<Linear>,
    norm: LayerNorm,
}

impl Stack {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.layers.iter().fold(x, |x, layer| layer.forward(x).tanh());
        self.norm.forward(hidden)
    }

    /// Other parameter ids, the same values.
    fn copy(&self, device: &Device) -> Self {
        let fresh = |d_in, d_out| LinearConfig::new(d_in, d_out).init(device);
        let mut copy = Stack {
            layers: self
                .layers
                .iter()
                .map(|layer| {
                    let [d_in, d_out] = layer.weight.dims();
                    fresh(d_in, d_out)
                })
                .collect(),
            norm: LayerNormConfig::new(4).init(device),
        };
        for (to, from) in copy.layers.iter_mut().zip(&self.layers) {
            to.weight = renew(&from.weight, device);
            to.bias = from.bias.as_ref().map(|bias| renew(bias, device));
        }
        copy.norm.gamma = renew(&self.norm.gamma, device);
        copy.norm.beta = self.norm.beta.as_ref().map(|beta| renew(beta, device));
        copy
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let mut collected = Bytes(Vec::new());
        self.visit(&mut collected);
        collected.0
    }
}

struct Bytes(Vec<Vec<u8>>);

impl ModuleVisitor for Bytes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().to_data().as_bytes().to_vec());
    }
}

/// Parameters that are not cut.
fn whole(_: &str, count: usize) -> Vec<std::ops::Range<usize>> {
    std::iter::once(0..count).collect()
}

fn renew<const D: usize>(param: &Param<Tensor<D>>, device: &Device) -> Param<Tensor<D>> {
    Param::from_data(param.val().to_data(), device)
}

fn device() -> Device {
    crate::testing::device().autodiff()
}

fn stack(device: &Device) -> Stack {
    Stack {
        layers: vec![
            LinearConfig::new(3, 5).init(device),
            LinearConfig::new(5, 4).init(device),
        ],
        norm: LayerNormConfig::new(4).init(device),
    }
}

/// The input of a step: a function of its number.
fn input(step: usize, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..6).map(|i| ((step * 6 + i) as f32 * 0.7).sin()).collect();
    Tensor::from_data(TensorData::new(values, [2, 3]), device)
}

fn grads_of(module: &Stack, x: Tensor<2>) -> GradientsParams {
    let weights = TensorData::from([[1.0_f32, -2.0, 0.5, 3.0]]);
    let weights = Tensor::<2>::from_data(weights, &x.device());
    let loss = (module.forward(x) * weights).square().mean();
    GradientsParams::from_grads(loss.backward(), module)
}

fn config() -> Train {
    Train {
        weight_decay: 0.1,
        ..Train::default()
    }
}

fn train(mut module: Stack, optimizer: &mut Optimizer, steps: std::ops::Range<usize>) -> Stack {
    for step in steps {
        let device = module.norm.gamma.val().device();
        let grads = grads_of(&module, input(step, &device));
        module = optimizer.step(module, grads, 1.0, 1e-2);
    }
    module
}

#[test]
fn resumes_bit_for_bit_with_other_parameter_ids() {
    let device = device();
    let start = stack(&device);
    let mut straight = Optimizer::new(&config());
    let expected = train(start.copy(&device), &mut straight, 0..8);

    let mut first = Optimizer::new(&config());
    let half = train(start.copy(&device), &mut first, 0..4);
    let saved = first.to_bytes().unwrap();
    let resumed = half.copy(&device);
    assert_ne!(half.norm.gamma.id, resumed.norm.gamma.id);
    let mut second = Optimizer::new(&config());
    second.load_bytes(&saved, &resumed, whole).unwrap();
    assert_eq!(second.to_bytes().unwrap(), saved);
    let resumed = train(resumed, &mut second, 4..8);

    assert_eq!(resumed.bytes(), expected.bytes());
    assert_eq!(second.to_bytes().unwrap(), straight.to_bytes().unwrap());

    // Without its state it would not have come out.
    let forgetful = train(half.copy(&device), &mut Optimizer::new(&config()), 4..8);
    assert_ne!(forgetful.bytes(), expected.bytes());
}

#[test]
fn is_adamw_and_decays_matrices_only() {
    let device = device();
    let (lr, eps, decay) = (1e-2, 1e-8, 0.1);
    let mut module = stack(&device);
    // Off its initial 1: decay would show.
    module.norm.gamma = Param::from_data(TensorData::from([2.0_f32, 3.0, 1.0, 0.5]), &device);
    let mut optimizer = Optimizer::new(&config());
    let read = |m: &Stack| -> [Vec<f64>; 2] {
        [
            m.layers[0].weight.val().try_into_vec_as().unwrap(),
            m.norm.gamma.val().try_into_vec_as().unwrap(),
        ]
    };
    let mut expected = read(&module);
    let mut moments = expected.clone().map(|v| vec![(0.0_f64, 0.0_f64); v.len()]);
    for step in 0..3 {
        let grads = grads_of(&module, input(step, &device));
        let grad: [Vec<f64>; 2] = [
            grads
                .get::<2>(module.layers[0].weight.id)
                .unwrap()
                .try_into_vec_as()
                .unwrap(),
            grads
                .get::<1>(module.norm.gamma.id)
                .unwrap()
                .try_into_vec_as()
                .unwrap(),
        ];
        module = optimizer.step(module, grads, 1.0, lr);
        let correction = |beta: f64| 1.0 - beta.powi(step as i32 + 1);
        for which in 0..2 {
            let decay = [decay, 0.0][which];
            for (i, g) in grad[which].iter().enumerate() {
                let (m, v) = &mut moments[which][i];
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.999 * *v + 0.001 * g * g;
                let update = (*m / correction(0.9)) / ((*v / correction(0.999)).sqrt() + eps);
                let w = &mut expected[which][i];
                *w = *w * (1.0 - lr * decay) - lr * update;
            }
        }
        for (got, expected) in read(&module).iter().zip(&expected) {
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 2e-6, "{got} for {expected}");
            }
        }
    }
}

#[test]
fn a_parameter_without_a_gradient_stays() {
    let device = device();
    let module = stack(&device);
    let before = module.bytes();
    let after = Optimizer::new(&config()).step(module, GradientsParams::new(), 1.0, 1.0);
    assert_eq!(after.bytes(), before);
}

#[test]
fn parameters_still_take_gradients_after_a_step() {
    for device in [device(), device().gradient_checkpointing()] {
        let module = train(stack(&device), &mut Optimizer::new(&config()), 0..2);
        assert_eq!(grads_of(&module, input(2, &device)).len(), 6);
    }
}

#[test]
fn clips_the_global_norm() {
    let device = device();
    let module = stack(&device);
    let grads = || grads_of(&module, input(0, &device));
    let norms = grad_norms(&module, &grads()).unwrap();
    let squares: f64 = norms.by_parameter.iter().map(|(_, n)| n * n).sum();
    assert!((norms.global - squares.sqrt()).abs() < 1e-12);
    assert_eq!(norms.by_parameter.len(), 6);
    assert_eq!(norms.by_parameter[0].0, "layers.0.weight");

    let max_norm = norms.global / 3.0;
    let factor = clip_factor(&norms, max_norm);
    let mut clipped = GradientsParams::new();
    add_scaled(&module, &mut clipped, grads(), factor);
    let after = grad_norms(&module, &clipped).unwrap();
    assert!((after.global / max_norm - 1.0).abs() < 1e-4);
    // One factor for all: the direction stays.
    for ((path, before), (_, after)) in norms.by_parameter.iter().zip(&after.by_parameter) {
        assert!((after * 3.0 - before).abs() < 1e-4 * before, "{path}");
    }

    // A step takes them clipped.
    let step = |grads, scale| Optimizer::new(&config()).step(module.clone(), grads, scale, 1e-2);
    let bits = |module: &Stack| module.layers[0].weight.val().into_data();
    assert_eq!(bits(&step(grads(), factor)), bits(&step(clipped, 1.0)));

    for max_norm in [0.0, norms.global * 2.0] {
        assert_eq!(clip_factor(&norms, max_norm), 1.0);
    }
}

#[test]
fn names_the_parameter_of_a_non_finite_gradient() {
    let device = device();
    let module = stack(&device);
    let mut grads = grads_of(&module, input(0, &device));
    assert_eq!(grad_norms(&module, &grads).unwrap().first_non_finite(), None);
    let weight = &module.layers[1].weight;
    let grad = grads.remove::<2>(weight.id).unwrap();
    let poison = grad.slice_fill([2..3, 1..2], f32::NAN);
    grads.register(weight.id, poison);
    let norms = grad_norms(&module, &grads).unwrap();
    assert_eq!(norms.first_non_finite(), Some("layers.1.weight"));
    assert!(!norms.global.is_finite());
}

#[test]
fn accumulates_with_a_scale() {
    let device = device();
    let module = stack(&device);
    let mut sum = GradientsParams::new();
    add_scaled(&module, &mut sum, grads_of(&module, input(0, &device)), 0.25);
    add_scaled(&module, &mut sum, grads_of(&module, input(1, &device)), 1.0);
    let id = module.layers[0].weight.id;
    let grad = |step| grads_of(&module, input(step, &device)).get::<2>(id).unwrap();
    let expected = grad(0).mul_scalar(0.25) + grad(1);
    assert_eq!(sum.get::<2>(id).unwrap().to_data(), expected.to_data());
    assert_eq!(sum.len(), 6);
}

#[test]
fn state_of_another_model_is_refused() {
    let device = device();
    let mut optimizer = Optimizer::new(&config());
    let module = train(stack(&device), &mut optimizer, 0..1);
    let bytes = optimizer.to_bytes().unwrap();

    let mut shorter = module.copy(&device);
    shorter.layers.pop();
    let error = optimizer.load_bytes(&bytes, &shorter, whole).unwrap_err();
    assert!(error.to_string().contains("belongs to no parameter"), "{error}");

    let mut wider = module.copy(&device);
    let random = Tensor::random([7, 5], Distribution::Default, &device);
    wider.layers[0].weight = Param::from_tensor(random);
    let error = optimizer.load_bytes(&bytes, &wider, whole).unwrap_err();
    let expected = "expected a float [7, 5]";
    assert!(error.to_string().contains(expected), "{error}");

    let cut = &bytes[..bytes.len() - 3];
    assert!(optimizer.load_bytes(cut, &module, whole).is_err());
    // Nothing was lost on the way.
    assert_eq!(optimizer.to_bytes().unwrap(), bytes);
}
