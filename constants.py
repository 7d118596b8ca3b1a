"""The values to change between runs: one a line, with its unit or legal values.

Every value is checked when a program starts; `python driver.py -h` and `python vae.py -h` list the flags that override
them for one run. Contribution-based or randomised pruning is chosen by `contribBasedPruning` in ranking.py, for both.
"""

# ---- schedule of driver.py ----
total_epochs = 100         # epochs of training in all, 1 or more
initial_iterations = 30    # epochs before the first pruning round, 1 or more; total_epochs or more: no pruning
increment = 10             # epochs between two rounds, 1 or more

# ---- schedule of vae.py ----
vae_total_epochs = 30
vae_initial_iterations = 6
vae_increment = 6

# ---- a round, in both ----
prune_percent = 10         # percent of a layer's present neurons that a round removes, above 0 and below 100

# ---- contribution: score = lambda_average * C_avg + lambda_max * C_max ----
lambda_average = 1.0       # weight of the mean share in the next layer's inputs, 0 or more
lambda_max = 0.0           # weight of the largest share, 0 or more; above 0 a round takes longer

# ---- every criterion ----
ranking_images = 0         # training images that a round ranks by, drawn anew each time; 0: the whole training set
compensate = False         # True: a round refits the weights that stay to what their layers gave before

# ---- the run ----
seed = 30                  # fixes the first weights, the batches and the random ranking, 0 to 4294967295
seeds = 1                  # runs with seed, seed + 1, ... of every arm, 1 to 10000
jobs = 1                   # runs side by side, which share the processor's threads, 1 to 1000
checkpoint_every = 10      # epochs between two checkpoints, 1 or more; there is one after every round too
device = "auto"            # "auto", "cpu", "cuda" or "mps"
precision = "auto"         # "auto", "float32" or "bfloat16": of the products in a training step; "auto": bfloat16 where
                           # the machine has instructions for it and the network has convolutions
deterministic = True       # True: the same bits at every run on the same machine; False: may be faster on a GPU
cuda_graphs = True         # True: a GPU records a training step once and launches it whole, several times as fast and
                           # with the same results; False: kernel by kernel
holdout = 0                # training images held out and tested on in place of the test set, 0 to 10000

# ---- folders ----
dataset_folder = "datasets"  # torchvision downloads into it
log_folder = "logs"          # one folder a data set: text logs, networks, figures

# ---- driver.py: one table a data set ----
# hidden_widths   neurons of each hidden Linear layer, 1 to 8192; these are ranked and pruned
# conv_widths     filters of each 3x3 convolution, 1 to 4096, with ReLU and 2x2 max-pooling; at most 4, never pruned
# batch_size      images a step, 1 to 1000000
# learning_rate   of SGD, above 0, at most 1e38
# momentum        of SGD, from 0 to below 1
# mean, std       pixels in [0, 1] become (pixel - mean) / std, std above 0
Digits = {
    "hidden_widths": [50, 30],
    "conv_widths": [],
    "batch_size": 250,
    "learning_rate": 0.02,
    "momentum": 0.9,
    "mean": 0.5,
    "std": 0.5,
}
MNIST = {
    "hidden_widths": [50, 30],
    "conv_widths": [],
    "batch_size": 100,       # published: 5000
    "learning_rate": 0.01,   # published: 0.1
    "momentum": 0.9,         # published: 0
    "mean": 0.5,
    "std": 0.5,
}
FashionMNIST = {
    "hidden_widths": [50, 30],
    "conv_widths": [],
    "batch_size": 100,       # published: 5000
    "learning_rate": 0.01,   # published: 0.1
    "momentum": 0.9,         # published: 0
    "mean": 0.5,
    "std": 0.5,
}
CIFAR10 = {
    "hidden_widths": [256, 128],
    "conv_widths": [16, 32],
    "batch_size": 128,       # published: 128
    "learning_rate": 0.05,   # published: 0.1
    "momentum": 0.0,         # published: 0
    "mean": 0.5,
    "std": 0.5,
}
CIFAR100 = {
    "hidden_widths": [256, 128],
    "conv_widths": [16, 32],
    "batch_size": 128,       # published: 128
    "learning_rate": 0.05,   # published: 0.1
    "momentum": 0.0,         # published: 0
    "mean": 0.5,
    "std": 0.5,
}

# ---- vae.py: one table a data set ----
# hidden_widths   neurons of the encoder's hidden Linear layers, then of as many of the decoder, 1 to 8192; these are
#                 ranked and pruned
# conv_widths     filters of each 4x4 convolution of stride 2, 1 to 4096; the decoder has the same in reverse; at most
#                 4, each halves the image; never pruned
# latent          dimensions of the latent, 1 to 8192; never pruned
# batch_size      images a step, 1 to 1000000
# learning_rate   of Adam, above 0, at most 1e37
# kld_weight      loss = BCE + kld_weight * KLD, 0 or more
vae_Digits = {
    "hidden_widths": [128, 256, 256, 128],
    "conv_widths": [8, 16],
    "latent": 10,
    "batch_size": 32,
    "learning_rate": 0.001,
    "kld_weight": 1.0,
}
vae_MNIST = {
    "hidden_widths": [256, 512, 512, 256],
    "conv_widths": [16, 32],
    "latent": 20,
    "batch_size": 128,
    "learning_rate": 0.001,
    "kld_weight": 1.0,
}
vae_FashionMNIST = {
    "hidden_widths": [256, 512, 512, 256],
    "conv_widths": [16, 32],
    "latent": 20,
    "batch_size": 128,
    "learning_rate": 0.001,
    "kld_weight": 1.0,
}
vae_CIFAR10 = {
    "hidden_widths": [256, 512, 512, 256],
    "conv_widths": [16, 32],
    "latent": 64,
    "batch_size": 128,
    "learning_rate": 0.001,
    "kld_weight": 1.0,
}
vae_CIFAR100 = {
    "hidden_widths": [256, 512, 512, 256],
    "conv_widths": [16, 32],
    "latent": 64,
    "batch_size": 128,
    "learning_rate": 0.001,
    "kld_weight": 1.0,
}
vae_CelebA = {               # the published network and values
    "hidden_widths": [2048, 4096, 4096, 2048],
    "conv_widths": [32, 64],
    "latent": 100,
    "batch_size": 64,
    "learning_rate": 0.001,
    "kld_weight": 1.0,
}
