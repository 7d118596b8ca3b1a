"""The values to change between runs, each with its meaning and its legal values.

Every value is checked when a program starts; `python driver.py -h` and `python vae.py -h` list the flags that override
them for one run. Contribution-based or randomised pruning is chosen by `contribBasedPruning` in ranking.py, for both.
"""

# ---- schedule of driver.py ----
total_epochs = 100         # epochs of training in all; 1 to 999999999
initial_iterations = 30    # epochs before the first round; no pruning from total_epochs on; 1 to 999999999
increment = 10             # epochs between two rounds; 1 to 999999999

# ---- schedule of vae.py ----
vae_total_epochs = 30
vae_initial_iterations = 6
vae_increment = 6

# ---- a round, in both ----
prune_percent = 10         # percent of a layer's present neurons that a round removes; above 0 and below 100

# ---- contribution: score = lambda_average * C_avg + lambda_max * C_max ----
lambda_average = 1.0       # weight of C_avg, the mean share in the next layer's inputs; 0 or more
lambda_max = 0.0           # weight of C_max, the largest share; above 0 a round takes longer; 0 or more

# ---- every criterion ----
ranking_images = 0         # training images that a round ranks by, drawn anew each time, 0 for all; 0 or more
prune_filters = False      # a round removes filters of convolutions too, not only hidden neurons; True or False
compensate = False         # a round refits the next layer's weights to that layer's old output; True or False

# ---- the run ----
seed = 30                  # fixes first weights, batches, sampled latents and random ranking; 0 to 4294967295
seeds = 1                  # runs of every arm, with seed, seed + 1, ...; 1 to 10000
jobs = 1                   # processes of this machine that share the work and its processor's threads; 1 to 1000
timeout = 600              # seconds without a sign of life after which a process counts as lost; 1 to 1000000
spread = ""                # batch: all processes train one run, each a share of every batch; empty or batch
checkpoint_every = 10      # epochs between two checkpoints; there is one after every round too; 1 to 999999999
device = "auto"            # where to train; auto, cpu, cuda or mps
precision = "auto"         # of products in steps and rounds, auto for bfloat16 if it pays; auto, float32 or bfloat16
deterministic = True       # the same bits at every run on one machine; may be slower on a GPU; True or False
cuda_graphs = True         # a GPU records a training step once and then launches it whole; True or False
holdout = 0                # training images held out, and tested on in place of the test set; 0 to 10000

# ---- folders; a relative one is beside this file ----
dataset_folder = "datasets"  # where torchvision downloads the data sets to; a folder
own_data = ""                # images of your own, which the data set Own reads; empty, a folder or FILE.FUNCTION
log_folder = "logs"          # where logs, networks and figures go, one folder per data set; a folder

# ---- driver.py: one table per data set ----
# network                 your own class for the network, in models.py or in FILE.py; hidden_widths and conv_widths are
#                         then ignored; empty, NAME or FILE.NAME
# hidden_widths           neurons of each hidden Linear layer, which are ranked and pruned; a list of at least one
#                         width, each 1 to 8192
# conv_widths             filters of each 3x3 convolution, with ReLU and 2x2 max-pooling; a list of at most 4 widths,
#                         each 1 to 4096
# batch_size              images per step; 1 to 1000000
# optimizer               what updates the weights, as in torch.optim; sgd, adam or adamw
# learning_rate           step size of the optimizer; above 0, at most 1e37
# learning_rate_schedule  kept, or lowered to 2 % along a cosine: over the run, or anew after each round; constant,
#                         cosine or cosine_restarts
# momentum                momentum of sgd; adam and adamw ignore it; 0 to below 1
# weight_decay            L2 penalty of sgd and adam, decoupled weight decay of adamw; 0 to 1
# augment                 mirror and shift training images at random, by up to 4 pixels; True or False
# mean                    pixels become (pixel - mean) / std; finite
# std                     pixels become (pixel - mean) / std; above 0
Digits = {
    "network": "",
    "hidden_widths": [50, 30],
    "conv_widths": [],
    "batch_size": 250,
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "learning_rate_schedule": "constant",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "augment": False,
    "mean": 0.5, "std": 0.5,
}
MNIST = {
    "network": "",
    "hidden_widths": [50, 30],
    "conv_widths": [],
    "batch_size": 100,       # published: 5000
    "optimizer": "sgd",
    "learning_rate": 0.01,   # published: 0.1
    "learning_rate_schedule": "constant",
    "momentum": 0.9,         # published: 0
    "weight_decay": 0.0,
    "augment": False,
    "mean": 0.5, "std": 0.5,
}
FashionMNIST = dict(MNIST)   # the same values; dict(MNIST, batch_size=64) would change one of them
CIFAR10 = {
    "network": "",
    "hidden_widths": [256, 128],
    "conv_widths": [16, 32],
    "batch_size": 128,       # published: 128
    "optimizer": "sgd",
    "learning_rate": 0.05,   # published: 0.1
    "learning_rate_schedule": "constant",
    "momentum": 0.0,         # published: 0
    "weight_decay": 0.0,
    "augment": False,
    "mean": 0.5, "std": 0.5,
}
CIFAR100 = dict(CIFAR10)
Own = dict(CIFAR10)          # the images of own_data

# ---- vae.py: one table per data set ----
# hidden_widths           neurons of the encoder's hidden Linear layers, then of as many of the decoder, which are
#                         ranked and pruned; a list of 2, 4, 6 ... widths, each 1 to 8192
# conv_widths             filters of each 4x4 convolution, which halves the image; mirrored in the decoder; a
#                         list of at most 4 widths, each 1 to 4096
# latent                  dimensions of the latent; never pruned; 1 to 8192
# batch_size              images per step; 1 to 1000000
# optimizer               what updates the weights, as in torch.optim; sgd, adam or adamw
# learning_rate           step size of the optimizer; above 0, at most 1e37
# learning_rate_schedule  kept, or lowered to 2 % along a cosine: over the run, or anew after each round; constant,
#                         cosine or cosine_restarts
# momentum                momentum of sgd; adam and adamw ignore it; 0 to below 1
# weight_decay            L2 penalty of sgd and adam, decoupled weight decay of adamw; 0 to 1
# kld_weight              loss = BCE + kld_weight * KLD; 0 or more
vae_Digits = {
    "hidden_widths": [128, 256, 256, 128],
    "conv_widths": [8, 16],
    "latent": 10,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "learning_rate_schedule": "constant",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "kld_weight": 1.0,
}
vae_MNIST = {
    "hidden_widths": [256, 512, 512, 256],
    "conv_widths": [16, 32],
    "latent": 20,
    "batch_size": 128,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "learning_rate_schedule": "constant",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "kld_weight": 1.0,
}
vae_FashionMNIST = dict(vae_MNIST)
vae_CIFAR10 = {
    "hidden_widths": [256, 512, 512, 256],
    "conv_widths": [16, 32],
    "latent": 64,
    "batch_size": 128,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "learning_rate_schedule": "constant",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "kld_weight": 1.0,
}
vae_CIFAR100 = dict(vae_CIFAR10)
vae_CelebA = {               # the published network and values
    "hidden_widths": [2048, 4096, 4096, 2048],
    "conv_widths": [32, 64],
    "latent": 100,
    "batch_size": 64,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "learning_rate_schedule": "constant",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "kld_weight": 1.0,
}
vae_Own = dict(vae_CIFAR10)  # the images of own_data
