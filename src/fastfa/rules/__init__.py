"""Learning rules: how the error reaches the hidden layers.

A rule is a way to compute the teaching signal S_l of a hidden layer. Forward pass, loss, gradient
(H_{l-1}^T D_l) and optimizer are the same for all rules. The output layer always gets the exact
error e. Shapes: m samples, n_l units of layer l, n_L outputs.

=============  =======  ===========================  =======================================
name           family   S_l (m, n_l)                 source
=============  =======  ===========================  =======================================
``backprop``   chain    d_{l+1} W_{l+1}^T            Rumelhart, Hinton and Williams (1986)
``fa``         chain    d_{l+1} B_l, (n_{l+1}, n_l)  Lillicrap et al. (2016)
``dfa``        error    e B_l, (n_L, n_l)            Nokland (2016)
``sdfa``       error    sign(e) B_l, (n_L, n_l)      Frenkel, Lefebvre and Bol (2021), baseline
``drtp``       target   Y B_l, (n_L, n_l)            Frenkel, Lefebvre and Bol (2021)
``usf``        chain    d_{l+1} s sign(W_{l+1}^T)    Liao, Leibo and Poggio (2016)
``frsf``       chain    d_{l+1} |R| sign(W_{l+1}^T)  the same, R drawn once
``brsf``       chain    the same, R drawn each step  the same
``kp``         chain    d_{l+1} B_l, B_l learns      Kolen and Pollack (1994), Akrout et al. (2019)
``dkp``        error    e B_l, B_l learns            Webster, Choi and Ahn (2021)
``ternary``    error    T(e) B_l, T in -1, 0, 1      Launay et al. (2020)
``ifa``        error    S_1 = e B_1, d_{l-1} W_l     Nokland (2016)
``ldfa``       chain    d_{l+1} P Q, both learn      Hanut and Kadmon (2025)
``pfa``        chain    d_{l+1} P R, R learns        Li and Benna (2024)
``fdfa``       error    e B_l, B_l from tangents     Bacho and Chu (2022)
``wm``         chain    d_{l+1} B_l, B_l from noise  Akrout et al. (2019)
``cdni``       chain    H_l M_l + Y N_l + c_l        Jaderberg et al. (2017)
``dtp``        chain    H_l - T_l, targets go down   Lee et al. (2015)
``local``      head     e_l M_l^T, a head per layer  Nokland and Eidnes (2019)
``pepita``     input    D_l = H_l - H'_l, two passes  Dellaferrera and Kreiman (2022)
``frozen``     none     the layer does not learn     the baseline of all rules
=============  =======  ===========================  =======================================
"""

from .base import Rule, RuleWarning
from .broadcast import DFA, DRTP, SDFA, Ternary
from .chain import FA, Backprop, Frozen
from .indirect import IFA
from .learned_feedback import DKP, KP, LDFA, PFA
from .local_head import Local
from .noise import FDFA, WM
from .pepita import PEPITA
from .registry import RULES
from .sign_symmetry import BRSF, FRSF, USF
from .synthetic import CDNI
from .targets import DTP

__all__ = [
    "BRSF", "CDNI", "DFA", "DKP", "DRTP", "DTP", "FA", "FDFA", "FRSF", "IFA", "KP", "LDFA",
    "PEPITA", "PFA", "RULES", "SDFA", "USF", "WM", "Backprop", "Frozen", "Local", "Rule",
    "RuleWarning", "Ternary",
]  # fmt: skip
