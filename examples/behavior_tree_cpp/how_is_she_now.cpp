// A behavior tree that checks the state of a person before the robot speaks (BehaviorTree.CPP 4).
//
//   ros2 run erc_behavior_tree how_is_she_now --ros-args -p person:=anna
//
// Reads `emotion_state`, which is latched, and publishes on `say` when the text changes.

#include <chrono>
#include <string>

#include <ament_index_cpp/get_package_share_directory.hpp>
#include <behaviortree_cpp/bt_factory.h>
#include <erc_msgs/msg/emotion_states.hpp>
#include <rclcpp/rclcpp.hpp>
#include <std_msgs/msg/string.hpp>

using std::chrono_literals::operator""ms;

constexpr float kMaxUncertainty = 0.6F;  // of a usable state

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  auto node = rclcpp::Node::make_shared("behavior_tree");
  const auto latched = rclcpp::QoS(1).reliable().transient_local();

  erc_msgs::msg::EmotionStates states;
  auto subscription = node->create_subscription<erc_msgs::msg::EmotionStates>(
    "emotion_state", latched,
    [&states](const erc_msgs::msg::EmotionStates & message) {states = message;});
  auto publisher = node->create_publisher<std_msgs::msg::String>("say", latched);
  std::string last_text;

  BT::BehaviorTreeFactory factory;
  // SUCCESS if the person's state is known well enough.
  factory.registerSimpleAction(
    "GetEmotion",
    [&states](BT::TreeNode & self) {
      const auto person = self.getInput<std::string>("person").value_or("");
      for (auto state = states.states.rbegin(); state != states.states.rend(); ++state) {
        if (!person.empty() && state->person_id != person) {continue;}
        if (state->uncertainty > kMaxUncertainty) {return BT::NodeStatus::FAILURE;}
        self.setOutput("label", std::string(state->label));
        self.setOutput("valence", static_cast<double>(state->valence));
        return BT::NodeStatus::SUCCESS;
      }
      return BT::NodeStatus::FAILURE;
    },
    {BT::InputPort<std::string>("person"), BT::OutputPort<std::string>("label"),
      BT::OutputPort<double>("valence")});
  factory.registerSimpleAction(
    "Say",
    [&](BT::TreeNode & self) {
      const auto text = self.getInput<std::string>("text").value_or("");
      if (text != last_text) {
        last_text = text;
        publisher->publish(std_msgs::msg::String().set__data(text));
      }
      return BT::NodeStatus::SUCCESS;
    },
    {BT::InputPort<std::string>("text")});

  const auto share = ament_index_cpp::get_package_share_directory("erc_behavior_tree");
  const auto file = node->declare_parameter("tree", share + "/how_is_she_now.xml");
  auto blackboard = BT::Blackboard::create();
  blackboard->set("person", node->declare_parameter("person", std::string()));
  auto tree = factory.createTreeFromFile(file, blackboard);
  auto timer = node->create_wall_timer(100ms, [&tree]() {tree.tickOnce();});

  rclcpp::spin(node);
  rclcpp::shutdown();
  return 0;
}
