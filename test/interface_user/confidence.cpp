// A C++ program that uses a message of this repository, as a package of somebody else would.
#include <iostream>

#include "erc_msgs/msg/emotion_estimate.hpp"

int main()
{
  erc_msgs::msg::EmotionEstimate estimate;
  estimate.label = "joy";
  estimate.confidence = 0.5F;
  std::cout << estimate.label << " " << estimate.confidence << "\n";
  return estimate.probabilities.empty() ? 0 : 1;
}
